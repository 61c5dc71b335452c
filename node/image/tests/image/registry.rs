//! Pulling: from a real registry (Debian's docker-registry, on loopback), and from one of our own
//! that lies, breaks off and asks for tokens.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use caravan_image::{
    Compression, Digest, Export, ImageError, Imported, Options, Source, Unobserved, export, import,
};
use caravan_protocol::tree::Tree;
use serde_json::{Value, json};

use crate::{
    kit::{Blobs, INDEX, Layout, MANIFEST, Tar, amd64, chain, gzip, program, sample},
    others::run,
};

fn pull(
    reference: &str,
    change: impl FnOnce(&mut Options),
) -> Result<(Imported, Blobs), ImageError> {
    let source: Source = format!("docker://{reference}").parse()?;
    let mut options = Options::of(amd64());
    change(&mut options);
    let mut blobs = Blobs::default();
    Ok((
        import(&source, &options, &mut blobs, &mut Unobserved)?,
        blobs,
    ))
}

/// A running docker-registry.
struct Real {
    child: Child,
    host: String,
    dir: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    fn start(more: impl FnOnce(&Path) -> String) -> Option<Self> {
        let registry = program("docker-registry")?;
        let dir = tempfile::tempdir().expect("writable");
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{}",
            dir.path().join("data").display(),
            more(dir.path())
        );
        fs::write(dir.path().join("config.yml"), config).expect("writable");
        let mut child = Command::new(registry)
            .args(["serve", "config.yml"])
            .current_dir(dir.path())
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        let host = loop {
            let mut line = String::new();
            let read = errors.read_line(&mut line).expect("readable");
            assert!(read > 0, "docker-registry ended: {said}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(['"', ',', '\n']).unwrap_or(rest.len());
                break rest[..end].to_owned();
            }
            said.push_str(&line);
        };
        thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        Some(Self { child, host, dir })
    }

    /// Uploads all blobs of a layout, and its manifests under a tag.
    fn push(&self, layout: &Path, repository: &str, tag: &str) {
        let base = format!("http://{}/v2/{repository}", self.host);
        let mut bodies = Vec::new();
        for blob in fs::read_dir(layout.join("blobs/sha256")).expect("there") {
            let bytes = fs::read(blob.expect("there").path()).expect("there");
            let digest = Digest::of(&bytes);
            let begun = ureq::post(format!("{base}/blobs/uploads/"))
                .send_empty()
                .expect("it begins");
            let to = begun.headers()["location"]
                .to_str()
                .expect("text")
                .to_owned();
            let joint = if to.contains('?') { '&' } else { '?' };
            ureq::put(format!("{to}{joint}digest={digest}"))
                .content_type("application/octet-stream")
                .send(&bytes[..])
                .expect("it is taken");
            bodies.push(bytes);
        }
        // Manifests by digest too, when all that they name is there.
        for bytes in bodies {
            let document: Option<Value> = serde_json::from_slice(&bytes).ok();
            let kind = document.and_then(|it| it["mediaType"].as_str().map(str::to_owned));
            if let Some(kind) = kind {
                let digest = Digest::of(&bytes).to_string();
                self.put_manifest(repository, &digest, &kind, &bytes);
            }
        }
        let index: Value =
            serde_json::from_slice(&fs::read(layout.join("index.json")).expect("there"))
                .expect("JSON");
        let entries = index["manifests"].as_array().expect("a list");
        if let [one] = entries.as_slice() {
            let digest: Digest = one["digest"].as_str().expect("text").parse().expect("good");
            let bytes = fs::read(layout.join(digest.path())).expect("there");
            let kind = one["mediaType"].as_str().expect("text");
            self.put_manifest(repository, tag, kind, &bytes);
        } else {
            self.put_manifest(repository, tag, INDEX, index.to_string().as_bytes());
        }
    }

    fn put_manifest(&self, repository: &str, name: &str, kind: &str, bytes: &[u8]) {
        ureq::put(format!(
            "http://{}/v2/{repository}/manifests/{name}",
            self.host
        ))
        .content_type(kind)
        .send(bytes)
        .expect("it is taken");
    }
}

fn write(
    tree: &Tree,
    blobs: &Blobs,
    to: &Path,
    platform: &str,
    compression: Compression,
) -> Digest {
    let platform = platform.parse().expect("good");
    let wanted = Export {
        layers: std::slice::from_ref(tree),
        platform: &platform,
        env: &[],
        tag: "v1",
        compression,
    };
    export(&wanted, blobs, to, &mut Unobserved)
        .expect("good")
        .manifest
}

#[test]
fn a_real_registry_gives_back_what_it_was_given() {
    let Some(real) = Real::start(|_| String::new()) else {
        return;
    };
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let dir = tempfile::tempdir().expect("writable");
    let mut digests = Vec::new();
    for (tag, compression) in [("gz", Compression::Gzip), ("zst", Compression::Zstd)] {
        let layout = dir.path().join(tag);
        digests.push(write(&tree, &blobs, &layout, "linux-x86_64", compression));
        real.push(&layout, "team/image", tag);
        let (imported, _) =
            pull(&format!("{}/team/image:{tag}", real.host), |_| {}).expect("there");
        assert_eq!(imported.tree, tree);
        assert_eq!(
            imported.facts["image"],
            digests[digests.len() - 1].to_string()
        );
    }
    let pinned = format!("{}/team/image:gz@{}", real.host, digests[1]);
    let (imported, _) = pull(&pinned, |_| {}).expect("the digest counts");
    assert_eq!(imported.facts["image"], digests[1].to_string());
    assert_eq!(imported.facts["image.source"], format!("docker://{pinned}"));
    let refused = |reference: &str, word: &str| {
        let error = pull(reference, |_| {}).expect_err("not there");
        assert!(chain(&error).contains(word), "{}", chain(&error));
    };
    refused(
        &format!("{}/team/image:no", real.host),
        "is there such an image",
    );
    refused(&format!("{}/no/image", real.host), "is there such an image");
    let nothing = Digest::of(b"nothing");
    refused(&format!("{}/team/image@{nothing}", real.host), "404");
}

#[test]
fn of_several_platforms_the_one_that_is_wanted_comes() {
    let Some(real) = Real::start(|_| String::new()) else {
        return;
    };
    let mut blobs = Blobs::default();
    let dir = tempfile::tempdir().expect("writable");
    let multi = Layout::new();
    let mut entries = Vec::new();
    for (platform, name) in [("linux-arm64", "arm64"), ("linux-x86_64", "amd64")] {
        let single = dir.path().join(name);
        let blob = blobs.add(name.as_bytes());
        let entry = caravan_protocol::tree::Entry::file(b"arch", 0o644, blob, 5);
        let tree = Tree::new(vec![entry]).expect("good");
        let digest = write(&tree, &blobs, &single, platform, Compression::Gzip);
        for blob in fs::read_dir(single.join("blobs/sha256")).expect("there") {
            let blob = blob.expect("there");
            fs::copy(
                blob.path(),
                multi.path().join("blobs/sha256").join(blob.file_name()),
            )
            .expect("writable");
        }
        let size = fs::read(single.join(digest.path())).expect("there").len();
        entries.push(
            json!({"mediaType": MANIFEST, "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": name}}),
        );
    }
    multi.index(&entries);
    real.push(multi.path(), "multi", "latest");
    let (imported, got) = pull(&format!("{}/multi", real.host), |_| {}).expect("there");
    assert_eq!(crate::kit::listing(&imported, &got), ["arch=amd64"]);
    let arm = |options: &mut Options| options.platform = "linux-arm64".parse().expect("good");
    let (imported, got) = pull(&format!("{}/multi", real.host), arm).expect("there");
    assert_eq!(crate::kit::listing(&imported, &got), ["arch=arm64"]);
    let other = |options: &mut Options| options.platform = "linux-riscv64".parse().expect("good");
    let error = pull(&format!("{}/multi", real.host), other).expect_err("not there");
    assert!(
        chain(&error).contains("there is linux/amd64, linux/arm64"),
        "{}",
        chain(&error)
    );
}

/// The configuration of a registry that talks encrypted, to those who know a password.
fn secure(dir: &Path) -> String {
    // The password is `secret`.
    let line = "puller:$2b$04$Ij3Tlr1VzQembr5T8K0g.OH63SA.PHSKqSFViyqp2U7kgmvhakCVW\n";
    fs::write(dir.join("htpasswd"), line).expect("writable");
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            dir.join("key.pem").to_str().expect("text"),
            "-out",
            dir.join("cert.pem").to_str().expect("text"),
        ],
    );
    "  tls:\n    certificate: cert.pem\n    key: key.pem\nauth:\n  htpasswd:\n    realm: us\n    path: htpasswd\n".to_owned()
}

#[test]
fn a_real_registry_with_encryption_and_a_password_is_asked_with_both() {
    if program("openssl").is_none() {
        return;
    }
    let Some(real) = Real::start(secure) else {
        return;
    };
    let dir = tempfile::tempdir().expect("writable");
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let layout = dir.path().join("l");
    write(&tree, &blobs, &layout, "linux-x86_64", Compression::Gzip);
    let Some(skopeo) = program("skopeo") else {
        return;
    };
    let reference = format!("{}/private/image:v1", real.host);
    run(
        skopeo,
        &[
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            "puller:secret",
            &format!("oci:{}:v1", layout.display()),
            &format!("docker://{reference}"),
        ],
    );
    let auth = dir.path().join("auth.json");
    let encoded = data_encoding::BASE64.encode(b"puller:secret");
    let write_auth = |encoded: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let text = json!({"auths": {&real.host: {"auth": encoded}}}).to_string();
        fs::write(&auth, text).expect("writable");
        fs::set_permissions(&auth, fs::Permissions::from_mode(mode)).expect("ours");
    };
    write_auth(&encoded, 0o600);
    let ca = real.dir.path().join("cert.pem");
    let both = |options: &mut Options| {
        options.ca_file = Some(ca.clone());
        options.auth_file = Some(auth.clone());
    };
    let (imported, _) = pull(&reference, both).expect("it is let in");
    assert_eq!(imported.tree, tree);
    let refused = |change: &dyn Fn(&mut Options), word: &str| {
        let error = pull(&reference, |options| change(options)).expect_err("kept out");
        let words = chain(&error);
        assert!(words.contains(word), "{word}: {words}");
        assert!(
            !words.contains("secret") && !words.contains(&encoded),
            "{words}"
        );
    };
    refused(&|options| options.ca_file = Some(ca.clone()), "--auth-file");
    // The authorities of the system do not know it, and nobody falls back to plain text.
    let system = "/etc/ssl/certs/ca-certificates.crt";
    if Path::new(system).exists() {
        refused(
            &|options| {
                both(options);
                options.ca_file = Some(system.into());
            },
            "certificate",
        );
    }
    write_auth(&data_encoding::BASE64.encode(b"puller:wrong"), 0o600);
    refused(&both, "401");
    write_auth(&encoded, 0o644);
    refused(&both, "chmod 600");
    write_auth("secret but no base64", 0o600);
    refused(&both, "no name and password");
}

/// What the registry of ours answers.
#[derive(Debug, Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How much of the body is sent before the line goes dead.
    cut: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct Asked {
    path: String,
    headers: BTreeMap<String, String>,
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A registry of ours: what it was asked is kept.
struct Fake {
    host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    fn start(make: impl FnOnce(&str) -> Box<Handler>) -> Self {
        Self::on("127.0.0.1:0", make)
    }

    fn on(address: &str, make: impl FnOnce(&str) -> Box<Handler>) -> Self {
        let listener = TcpListener::bind(address).expect("loopback");
        let host = listener.local_addr().expect("bound").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (handler, log) = (make(&host), Arc::clone(&asked));
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = Self::answer(stream.expect("loopback"), &*handler, &log);
            }
        });
        Self { host, asked }
    }

    fn answer(
        stream: TcpStream,
        handler: &Handler,
        log: &Mutex<Vec<Asked>>,
    ) -> std::io::Result<()> {
        // The greeting of TLS is not understood here.
        let mut first = [0];
        if stream.peek(&mut first)? == 0 || first == [0x16] {
            return Ok(());
        }
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut asked = Asked {
            path: line.split(' ').nth(1).unwrap_or_default().to_owned(),
            ..Asked::default()
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                break;
            };
            asked.headers.insert(name.to_lowercase(), value.to_owned());
        }
        log.lock().expect("whole").push(asked.clone());
        let answer = handler(&asked);
        let mut out = stream;
        write!(
            out,
            "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
            answer.status,
            answer.body.len()
        )?;
        for (name, value) in &answer.headers {
            write!(out, "{name}: {value}\r\n")?;
        }
        let end = answer.cut.unwrap_or(answer.body.len());
        out.write_all(b"\r\n")?;
        out.write_all(&answer.body[..end])
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("whole").clone()
    }
}

/// The answers of a registry with one image, by path.
fn served(tar: &[u8]) -> BTreeMap<String, Answer> {
    let layout = Layout::of(&[tar.to_vec()]);
    let index: Value =
        serde_json::from_slice(&fs::read(layout.path().join("index.json")).expect("there"))
            .expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("text");
    let mut answers = BTreeMap::new();
    for blob in fs::read_dir(layout.path().join("blobs/sha256")).expect("there") {
        let body = fs::read(blob.expect("there").path()).expect("there");
        let own = Digest::of(&body).to_string();
        let is_manifest = own == digest;
        let answer = Answer {
            status: 200,
            headers: match is_manifest {
                true => vec![("Content-Type".to_owned(), MANIFEST.to_owned())],
                false => Vec::new(),
            },
            body,
            cut: None,
        };
        if is_manifest {
            answers.insert("/v2/x/manifests/latest".to_owned(), answer.clone());
            answers.insert(format!("/v2/x/manifests/{own}"), answer);
        } else {
            answers.insert(format!("/v2/x/blobs/{own}"), answer);
        }
    }
    answers
}

fn not_found() -> Answer {
    Answer {
        status: 404,
        body: br#"{"errors":[{"message":"no \u001b[31msuch thing"}]}"#.to_vec(),
        ..Answer::default()
    }
}

#[test]
fn a_token_is_asked_for_once_and_shown_to_nobody_else() {
    let tar = Tar::default().file("f", "x").end();
    let elsewhere = {
        let answers = served(&tar);
        Fake::start(move |_| {
            Box::new(move |asked| answers.get(&asked.path).cloned().unwrap_or_else(not_found))
        })
    };
    let answers = served(&tar);
    let other = elsewhere.host.replace("127.0.0.1", "localhost");
    let fake = Fake::start(|host| {
        let realm = format!("http://{host}/token");
        Box::new(move |asked| {
            let shown = asked.headers.get("authorization").map(String::as_str);
            if asked.path.starts_with("/token") {
                return Answer {
                    status: 200,
                    body: br#"{"token":"T123","expires_in":60}"#.to_vec(),
                    ..Answer::default()
                };
            }
            if shown != Some("Bearer T123") {
                let challenge = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"*\"");
                return Answer {
                    status: 401,
                    headers: vec![("WWW-Authenticate".to_owned(), challenge)],
                    ..Answer::default()
                };
            }
            if asked.path.contains("/blobs/") {
                let to = format!("http://{other}{}", asked.path);
                return Answer {
                    status: 307,
                    headers: vec![("Location".to_owned(), to)],
                    ..Answer::default()
                };
            }
            answers.get(&asked.path).cloned().unwrap_or_else(not_found)
        })
    });
    let dir = tempfile::tempdir().expect("writable");
    let auth = dir.path().join("auth");
    let text = json!({"auths": {&fake.host: {"username": "u", "password": "p"}}}).to_string();
    fs::write(&auth, text).expect("writable");
    fs::set_permissions(&auth, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let with_auth = |options: &mut Options| options.auth_file = Some(auth.clone());
    let (imported, _) = pull(&format!("{}/x", fake.host), with_auth).expect("it is let in");
    assert_eq!(imported.facts["arch"], "x86_64");
    let tokens: Vec<Asked> = fake
        .asked()
        .into_iter()
        .filter(|asked| asked.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].path, "/token?service=s&scope=repository:x:pull");
    let basic = format!("Basic {}", data_encoding::BASE64.encode(b"u:p"));
    assert_eq!(tokens[0].headers["authorization"], basic);
    let leaked = elsewhere.asked();
    assert!(leaked.len() >= 2);
    for asked in leaked {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
}

#[test]
fn a_blob_that_breaks_off_goes_on_where_it_was() {
    let tar = Tar::default().file("f", vec![b'x'; 100_000]).end();
    let answers = served(&tar);
    let fake = Fake::start(|_| {
        Box::new(move |asked| {
            let Some(mut answer) = answers.get(&asked.path).cloned() else {
                return not_found();
            };
            if !asked.path.contains("/blobs/") {
                return answer;
            }
            if let Some(range) = asked.headers.get("range") {
                let from = range.trim_start_matches("bytes=").trim_end_matches('-');
                answer
                    .body
                    .drain(..from.parse::<usize>().expect("a number"));
                answer.status = 206;
            }
            if answer.body.len() > 150 {
                answer.cut = Some(answer.body.len() / 2);
            }
            answer
        })
    });
    let (imported, blobs) = pull(&format!("{}/x", fake.host), |_| {}).expect("it goes on");
    assert_eq!(blobs.0.len(), 1, "{:?}", imported.facts);
    let ranges = fake.asked();
    let ranges = ranges
        .iter()
        .filter(|asked| asked.headers.contains_key("range"));
    assert!(ranges.count() >= 1, "nothing was asked for again");
}

/// Pulls from a registry whose answers are changed.
fn lie(change: fn(&str, &mut Answer), word: &str) {
    let answers = served(&Tar::default().file("f", "x").end());
    let fake = Fake::start(|_| {
        Box::new(move |asked| {
            let mut answer = answers.get(&asked.path).cloned().unwrap_or_else(not_found);
            change(&asked.path, &mut answer);
            answer
        })
    });
    let error = pull(&format!("{}/x", fake.host), |_| {}).expect_err("a lie");
    let words = chain(&error);
    assert!(words.contains(word), "{word}: {words}");
    assert!(!words.contains('\u{1b}'), "{words:?}");
}

#[test]
fn a_registry_that_lies_about_bytes_is_not_believed() {
    lie(
        |path, answer| {
            if path.contains("manifests") {
                let digest = Digest::of(b"other").to_string();
                answer
                    .headers
                    .push(("Docker-Content-Digest".to_owned(), digest));
            }
        },
        "want sha256:",
    );
    lie(
        |path, answer| {
            if path.contains("manifests") {
                answer.headers = vec![("Content-Type".to_owned(), INDEX.to_owned())];
            }
        },
        "calls itself",
    );
    lie(
        |path, answer| {
            if path.contains("manifests") {
                answer.body = vec![b' '; 5 << 20];
            }
        },
        "4194304 bytes",
    );
    lie(
        |path, answer| {
            if path.contains("blobs") {
                let other = gzip(&Tar::default().file("f", "y").end());
                if answer.body.starts_with(&[0x1f, 0x8b]) {
                    answer.body = other;
                }
            }
        },
        "want sha256:",
    );
    let pinned = {
        let answers = served(&Tar::default().file("f", "x").end());
        Fake::start(move |_| Box::new(move |_| answers["/v2/x/manifests/latest"].clone()))
    };
    let digest = Digest::of(b"what was reviewed");
    let error = pull(&format!("{}/x@{digest}", pinned.host), |_| {}).expect_err("another");
    let words = chain(&error);
    assert!(words.contains(&format!("want {digest}")), "{words}");
}

#[test]
fn a_registry_that_answers_oddly_gives_words() {
    lie(
        |path, answer| {
            if path.contains("blobs") {
                answer.status = 500;
                answer.body = br#"{"errors":[{"message":"no \u001b[31m disk"}]}"#.to_vec();
            }
        },
        "500",
    );
    lie(
        |path, answer| {
            if path.contains("manifests") {
                answer.status = 302;
                answer.headers = vec![("Location".to_owned(), path.to_owned())];
            }
        },
        "redirect",
    );
    lie(
        |_, answer| {
            answer.status = 401;
            answer.headers = vec![("WWW-Authenticate".to_owned(), "Negotiate".to_owned())];
        },
        "Negotiate",
    );
}

#[test]
fn nobody_is_asked_in_the_clear_unless_a_person_says_so() {
    // An address of this machine that is not one of the names by which that is known.
    let fake = Fake::on("127.0.0.2:0", |_| Box::new(|_| not_found()));
    let reference = format!("{}/x", fake.host);
    let error = pull(&reference, |_| {}).expect_err("it cannot encrypt");
    assert!(chain(&error).contains(&fake.host), "{}", chain(&error));
    let in_clear = |asked: &Asked| asked.path.contains("/v2/");
    assert!(!fake.asked().iter().any(in_clear), "{:?}", fake.asked());
    let error = pull(&reference, |options| options.insecure = true).expect_err("not there");
    assert!(chain(&error).contains("404"), "{}", chain(&error));
    assert!(fake.asked().iter().any(in_clear));
    let fake = Fake::start(|_| Box::new(|_| not_found()));
    let dir = tempfile::tempdir().expect("writable");
    let any = dir.path().join("ca.pem");
    fs::write(&any, "no certificate").expect("writable");
    let error = pull(&format!("{}/x", fake.host), |options| {
        options.ca_file = Some(any.clone());
    })
    .expect_err("no authorities");
    assert!(
        chain(&error).contains("there is none in it"),
        "{}",
        chain(&error)
    );
    assert!(fake.asked().is_empty());
}

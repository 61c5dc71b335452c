//! Declared files at a gate: those, whole and checked, and nothing else.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use caravan_egress::{Bring, Config, Egress, Note, Offered, Source, Times};

use crate::support::Ground;

/// sha256 of `archive`.
const SHA: &str = "sha256=7b1c1ef5f1bd0dd8a2e9b0b8fa8d5ba3aeaa0ff1ac6ba2fcf7a8b52c8cb7ae60";

/// Files by their places, each with how often it was asked for.
struct Shelf {
    files: Vec<Result<Vec<u8>, String>>,
    asked: AtomicUsize,
}

impl Source for Shelf {
    fn bring(&self, place: usize) -> Bring<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let bytes = self.files[place].clone()?;
            let mut file: File = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            // Wherever it stands, it is read from its beginning.
            file.seek(std::io::SeekFrom::End(0)).unwrap();
            Ok(file)
        })
    }
}

fn sums(bytes: &[u8]) -> Vec<caravan_protocol::action::Checksum> {
    use sha2::{Digest, Sha256};
    let hex = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
    vec![format!("sha256={hex}").parse().unwrap()]
}

struct Declared {
    ground: Ground,
    shelf: Arc<Shelf>,
    path: String,
}

/// One file of these bytes is declared; the source has those.
fn declared(bytes: &[u8], has: Result<Vec<u8>, String>) -> Declared {
    declared_under(&Ground::config(), bytes, has)
}

fn declared_under(config: &Config, bytes: &[u8], has: Result<Vec<u8>, String>) -> Declared {
    let checksums = sums(bytes);
    let path = format!("/{}", checksums[0].cache_path());
    let urls = vec![
        "http://a.test/x.tar.gz".to_owned(),
        "https://b.test/x".to_owned(),
    ];
    let shelf = Arc::new(Shelf {
        files: vec![has],
        asked: AtomicUsize::new(0),
    });
    let source: Arc<dyn Source> = shelf.clone();
    let offered = vec![Offered { checksums, urls }];
    let ground = Ground::start(
        config,
        [],
        Times::default(),
        None,
        |egress: &Egress, tell| egress.fetch(offered, source, tell),
    );
    Declared {
        ground,
        shelf,
        path,
    }
}

fn origin(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:3128\r\n\r\n")
}

#[test]
fn a_declared_file_is_served_by_digest_and_by_its_address() {
    let bytes = vec![b'x'; 300_000];
    let test = declared(&bytes, Ok(bytes.clone()));
    let gate = test.ground.address();
    for request in [
        origin(&test.path),
        origin(&test.path.to_ascii_uppercase()),
        format!("GET http://{gate}{} HTTP/1.1\r\n\r\n", test.path),
        "GET http://a.test/x.tar.gz HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(),
    ] {
        let answer = test.ground.ask_bytes(&request);
        let split = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{request}");
        assert_eq!(&answer[split + 4..], bytes, "{request}");
    }
    assert_eq!(test.shelf.asked.load(Ordering::Relaxed), 1);
    let head = test.ground.ask(&origin(&test.path).replace("GET", "HEAD"));
    assert!(
        head.contains("Content-Length: 300000") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert_eq!(test.ground.notes(), [""; 0]);
}

#[test]
fn nothing_but_declared_files_is_served() {
    let test = declared(b"archive", Ok(b"archive".to_vec()));
    let other = format!("/sha256/7b/{}", &SHA[7..]);
    for request in [
        origin("/"),
        origin(&other),
        origin(&format!("{}?x", test.path)),
        origin(&format!("/..{}", test.path)),
        origin(&test.path.replace("sha256", "md5")),
        "GET http://a.test/y.tar.gz HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://a.test/ HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://deb.debian.org/ HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://169.254.169.254/ HTTP/1.1\r\n\r\n".to_owned(),
        "CONNECT a.test:443 HTTP/1.1\r\n\r\n".to_owned(),
        "CONNECT b.test:443 HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        let answer = test.ground.ask(&request);
        assert!(
            answer.starts_with("HTTP/1.1 403 caravan: "),
            "{request}: {answer}"
        );
        assert!(
            answer.contains("none of the files that this step declared"),
            "{answer}"
        );
    }
    assert_eq!(test.shelf.asked.load(Ordering::Relaxed), 0);
    assert!(!test.ground.notes().is_empty());
}

#[test]
fn wrong_bytes_are_never_served_not_even_the_first() {
    let test = declared(b"archive", Ok(b"archivE".to_vec()));
    for _ in 0..4 {
        let answer = test.ground.ask(&origin(&test.path));
        assert!(answer.starts_with("HTTP/1.1 502 caravan: "), "{answer}");
        assert!(answer.contains("wrong checksum: want sha256="), "{answer}");
        assert!(!answer.contains("archivE"), "{answer}");
    }
    // It is asked for anew once: the next bytes may be the right ones.
    assert_eq!(test.shelf.asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_file_that_cannot_be_had_says_why() {
    let test = declared(b"archive", Err("every mirror is down".to_owned()));
    let answer = test.ground.ask(&origin(&test.path));
    assert!(
        answer.starts_with(
            "HTTP/1.1 502 caravan: a declared file could not be fetched: every mirror is down"
        ),
        "{answer}"
    );
    assert_eq!(test.ground.notes().len(), 1);
    // One more try, and then it is known.
    for _ in 0..3 {
        test.ground.ask(&origin(&test.path));
    }
    assert_eq!(test.shelf.asked.load(Ordering::Relaxed), 2);
    let answer = test.ground.ask(&origin(&test.path));
    assert!(
        answer.contains("every mirror is down; it was tried 2 times and is not tried again"),
        "{answer}"
    );
}

#[test]
fn declared_files_cost_their_bytes_and_every_request_its_knock() {
    let bytes = vec![b'x'; 50_000];
    let config = |bytes| Config {
        bytes,
        ..Ground::config()
    };
    let well = |test: &Declared, request: &str| {
        let answer = test.ground.ask_bytes(request);
        answer.starts_with(b"HTTP/1.1 200 OK")
    };
    // Brought once: a look costs the file, another look nothing but its connection.
    let test = declared_under(&config(200_000), &bytes, Ok(bytes.clone()));
    let look = origin(&test.path).replace("GET", "HEAD");
    assert!(well(&test, &look) && well(&test, &look));
    assert!(well(&test, &origin(&test.path)));
    assert_eq!(test.ground.end(), 3 * 4096 + 2 * 50_000);
    // More than it may: not served, and told.
    let test = declared_under(&config(120_000), &bytes, Ok(bytes.clone()));
    assert!(well(&test, &origin(&test.path)));
    assert!(well(&test, &origin(&test.path)));
    let answer = test.ground.ask(&origin(&test.path));
    let words = "the job has moved the 120000 bytes";
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains(words),
        "{answer}"
    );
    assert!(matches!(test.ground.all_notes()[..], [Note::Spent(_)]));
    // What was brought in vain was brought too; and so is knocking.
    let test = declared_under(&config(70_000), b"archive", Ok(bytes));
    for _ in 0..8 {
        assert!(!well(&test, &origin(&test.path)));
    }
    let spent = |note: &Note| matches!(note, Note::Spent(_));
    assert_eq!(
        test.ground
            .all_notes()
            .iter()
            .filter(|note| spent(note))
            .count(),
        1
    );
    let test = declared_under(&config(20_000), b"archive", Err("down".to_owned()));
    for _ in 0..8 {
        test.ground.ask(&origin("/none"));
    }
    assert_eq!(
        test.ground
            .all_notes()
            .iter()
            .filter(|note| spent(note))
            .count(),
        1
    );
    assert_eq!(test.shelf.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn all_of_a_file_s_digests_must_hold() {
    let mut checksums = sums(b"archive");
    checksums.push("md5=00000000000000000000000000000000".parse().unwrap());
    let path = format!("/{}", checksums[0].cache_path());
    let source: Arc<dyn Source> = Arc::new(Shelf {
        files: vec![Ok(b"archive".to_vec())],
        asked: AtomicUsize::new(0),
    });
    let offered = vec![Offered {
        checksums,
        urls: Vec::new(),
    }];
    let ground = Ground::start(
        &Ground::config(),
        [],
        Times::default(),
        None,
        |egress: &Egress, tell| egress.fetch(offered, source, tell),
    );
    let answer = ground.ask(&origin(&path));
    assert!(answer.contains("wrong checksum: want md5="), "{answer}");
}

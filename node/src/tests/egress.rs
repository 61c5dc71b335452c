//! What steps reach of the network, in real sandboxes: a gate and nothing else.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use caravan_egress::{Config, Egress, Policy, Resolve, Resolved, Times};
use caravan_protocol::{
    action::{Action, Declared, Network, Profile, Source},
    claim::Verdict,
    ids::TreeId,
};
use tokio_util::sync::CancellationToken;

use super::{Ground, Step, Test};
use crate::build::{Builder, Secrets};

pub(crate) const TESTS: [Test; 8] = [
    ("only_what_is_listed_answers_from_inside", only_listed),
    ("a_step_without_a_word_has_no_way_out", no_word),
    ("a_refusal_is_in_the_log_where_it_happened", refusals_told),
    ("a_step_that_spends_its_bytes_is_ended_with_words", spent),
    ("a_cancelled_step_cuts_its_connections", cancelled),
    ("declared_files_are_served_and_nothing_else", declared),
    ("wrong_bytes_of_a_declared_file_never_come_in", wrong_bytes),
    (
        "programs_and_sudo_find_the_gate_and_no_trace_is_kept",
        traces,
    ),
];

/// The names of the tests.
struct Names(BTreeMap<&'static str, IpAddr>);

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Resolved {
        let found: Vec<IpAddr> = self.0.get(name).copied().into_iter().collect();
        Box::pin(async move { Ok(found) })
    }
}

/// A server of the host, which answers everything with the same and counts who came.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(at: &str, body: Vec<u8>, ends: bool) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (hears, body) = (Arc::clone(&hears), body.clone());
                std::thread::spawn(move || talk(stream, &hears, &body, ends));
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn talk(mut stream: TcpStream, heard: &Mutex<Vec<String>>, body: &[u8], ends: bool) {
    heard.lock().unwrap().push(String::new());
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    heard
        .lock()
        .unwrap()
        .push(String::from_utf8_lossy(&head).into_owned());
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
    );
    let sent = stream.write_all(body);
    if !ends && sent.is_ok() {
        // More is promised than comes; that is how a cut is seen.
        let _ = stream.read(&mut byte);
        heard.lock().unwrap().push("cut".to_owned());
    }
}

/// Curl of the host with its libraries, as a layer; nothing where there is none.
fn curl(ground: &Ground) -> Option<TreeId> {
    let dir = ground.dir.path().join("curl");
    let install = |from: &Path, to: &Path| {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let Ok(program) = fs::canonicalize("/usr/bin/curl") else {
        println!("SKIPPED: there is no curl here");
        return None;
    };
    install(&program, &dir.join("bin/curl"));
    let listed = Command::new("ldd").arg(&program).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        install(
            Path::new(library),
            &dir.join(library.trim_start_matches('/')),
        );
    }
    Some(ground.store.ingest_dir(&dir).unwrap().tree)
}

/// A builder whose steps may reach these.
fn builder(ground: &Ground, private: &[String], own: &[u16], bytes: u64) -> Builder {
    let config = Config {
        allow: ["near.test", "cloud.test", "self.test"]
            .map(str::to_owned)
            .to_vec(),
        private: private.to_vec(),
        defaults: false,
        bytes,
        ..Config::default()
    };
    let names = [
        ("mirror.test", "127.0.0.1"),
        ("mesh.test", "127.0.0.1"),
        ("near.test", "10.0.0.1"),
        ("cloud.test", "169.254.169.254"),
        ("self.test", "127.0.0.1"),
    ];
    let names = names.map(|(name, address)| (name, address.parse().unwrap()));
    let names = Arc::new(Names(names.into()));
    let policy = Policy::new(&config, Vec::new(), own.iter().copied()).unwrap();
    let egress = Egress::with(policy, bytes, None, names, Times::default());
    ground.builder.clone().with_egress(egress)
}

fn step(ground: &Ground, curl: TreeId, script: &str, network: Network) -> Step {
    let mut step = ground.step(script);
    step.run.layers.push(curl);
    step.run.network = network;
    step
}

fn build(ground: &Ground, builder: &Builder, action: &Action) -> super::Built {
    let (key, cancel) = (action.key().unwrap().to_string(), CancellationToken::new());
    ground.wait(builder.build(action, &key, &Secrets::default(), &cancel))
}

/// The address by which this machine would go out, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn only_listed(ground: &Ground) {
    let Some(curl) = curl(ground) else { return };
    let mirror = Server::start("127.0.0.1", b"listed".to_vec(), true);
    // On every address of this machine: whoever gets out by another way gets in here.
    let victim = Server::start("0.0.0.0", b"secret".to_vec(), true);
    let (port, other) = (mirror.port, victim.port);
    let own = own_address().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let probes = [
        format!("http://mirror.test:{port}/"),
        format!("http://mirror.test:{other}/"),
        format!("http://127.0.0.1:{other}/"),
        format!("http://127.1:{other}/"),
        format!("http://2130706433:{other}/"),
        format!("http://0x7f000001:{other}/"),
        format!("http://0.0.0.0:{other}/"),
        format!("http://localhost:{other}/"),
        format!("http://[::1]:{other}/"),
        format!("http://[::ffff:127.0.0.1]:{other}/"),
        format!("http://{own}:{other}/"),
        format!("http://self.test:{other}/"),
        format!("http://mesh.test:{other}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://cloud.test/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://172.16.0.1/".to_owned(),
        "http://192.168.0.1/".to_owned(),
        "http://100.64.0.1/".to_owned(),
        "http://near.test/".to_owned(),
        "http://[fe80::1]/".to_owned(),
        "http://[fd00::1]/".to_owned(),
        "http://1.1.1.1/".to_owned(),
        "http://example.com/".to_owned(),
        format!("https://127.0.0.1:{other}/"),
    ];
    let private = [format!("mirror.test:{port}"), format!("mesh.test:{other}")];
    let builder = builder(ground, &private, &[other], 1 << 30);
    // By the gate, by a tunnel of it, and past it.
    let ways = [
        "--noproxy ''",
        "--noproxy '' --proxytunnel",
        "--noproxy '*'",
    ];
    let tries = ways.iter().flat_map(|way| {
        probes.iter().map(move |url| {
            format!(
                "echo \"$(curl -s -g -m 5 {way} -o /tmp/o -w '%{{http_code}}' '{url}') {url}\"\n"
            )
        })
    });
    let script: String = tries.collect();
    let built = build(
        ground,
        &builder,
        &step(ground, curl, &script, Network::Host).action(),
    );
    let log = ground.log(&built);
    let answered: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("200 "))
        .collect();
    let wanted = format!("200 {}", probes[0]);
    assert_eq!(answered, [wanted.as_str(); 2], "{log}");
    let tried = log.lines().filter(|line| line.contains(" http")).count();
    assert!(tried >= ways.len() * probes.len(), "{log}");
    assert_eq!(victim.heard(), [""; 0], "somebody came: {log}");
}

fn no_word(ground: &Ground) {
    let Some(curl) = curl(ground) else { return };
    let mirror = Server::start("127.0.0.1", b"listed".to_vec(), true);
    let url = format!("http://mirror.test:{}/", mirror.port);
    let builder = builder(
        ground,
        &[format!("mirror.test:{}", mirror.port)],
        &[],
        1 << 30,
    );
    let script = format!(
        "echo proxy=$http_proxy$HTTPS_PROXY; curl -s -m 5 -x http://127.0.0.1:3128 {url}; echo $?"
    );
    let built = build(
        ground,
        &builder,
        &step(ground, curl, &script, Network::None).action(),
    );
    assert_eq!(ground.log(&built), "proxy=\n7\n");
    assert_eq!(mirror.heard(), [""; 0]);
}

fn refusals_told(ground: &Ground) {
    let Some(curl) = curl(ground) else { return };
    let builder = builder(ground, &[], &[], 1 << 30);
    let script = "echo before; curl -s http://evil.test/; echo -n half; \
                  curl -s -o /dev/null http://near.test/; echo after";
    let built = build(
        ground,
        &builder,
        &step(ground, curl, script, Network::Host).action(),
    );
    assert_eq!(built.verdict, Verdict::Pass);
    let log = ground.log(&built);
    for line in [
        "before",
        "caravan: evil.test:80 is not on this node's allow-list",
        "caravan: network: refused: evil.test:80 is not on this node's allow-list",
        "caravan: network: refused: near.test:80 is at 10.0.0.1, a private address, which no job may reach",
    ] {
        assert!(log.lines().any(|own| own == line), "{line}: {log}");
    }
}

fn spent(ground: &Ground) {
    let Some(curl) = curl(ground) else { return };
    let mirror = Server::start("127.0.0.1", vec![b'x'; 8 << 20], true);
    let url = format!("http://mirror.test:{}/", mirror.port);
    let builder = builder(
        ground,
        &[format!("mirror.test:{}", mirror.port)],
        &[],
        1 << 20,
    );
    let script = format!("curl -s -o /dev/null {url}; echo got on; sleep 1000");
    let begun = Instant::now();
    let built = build(
        ground,
        &builder,
        &step(ground, curl, &script, Network::Host).action(),
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((built.verdict, built.output), (Verdict::Fail, None));
    let words = "network: the job has moved the 1048576 bytes that it may move over the network";
    assert_eq!(built.message.as_deref(), Some(words));
    assert!(ground.log(&built).contains(&format!("caravan: {words}\n")));
    // The next step has bytes of its own.
    let small = Server::start("127.0.0.1", b"small".to_vec(), true);
    let builder = self::builder(
        ground,
        &[format!("mirror.test:{}", small.port)],
        &[],
        1 << 20,
    );
    let script = format!("curl -s http://mirror.test:{}/", small.port);
    let built = build(
        ground,
        &builder,
        &step(ground, curl, &script, Network::Host).action(),
    );
    assert_eq!(ground.log(&built), "small");
}

fn cancelled(ground: &Ground) {
    let Some(curl) = curl(ground) else { return };
    let endless = Server::start("127.0.0.1", Vec::new(), false);
    let url = format!("http://mirror.test:{}/", endless.port);
    let builder = builder(
        ground,
        &[format!("mirror.test:{}", endless.port)],
        &[],
        1 << 20,
    );
    // It says that a byte is to come, and none comes.
    let script = format!("curl -s --proxytunnel {url}; sleep 1000");
    let action = step(ground, curl, &script, Network::Host).action();
    let cancel = CancellationToken::new();
    let (heard, stop) = (Arc::clone(&endless.heard), cancel.clone());
    let watch = std::thread::spawn(move || {
        let begun = Instant::now();
        while heard.lock().unwrap().len() < 2 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
        stop.cancel();
    });
    let name = "c".repeat(64);
    let built = ground.wait(builder.build(&action, &name, &Secrets::default(), &cancel));
    assert_eq!(built.verdict, Verdict::Infra);
    watch.join().unwrap();
    let begun = Instant::now();
    while endless.heard().last().is_none_or(|last| last != "cut") {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "the connection outlived its step"
        );
        std::thread::yield_now();
    }
}

/// A step that may fetch one file of these bytes, found at `url`.
fn fetching(ground: &Ground, curl: TreeId, script: &str, bytes: &[u8], url: &str) -> Action {
    let file = ground.dir.path().join("sum");
    fs::write(&file, bytes).unwrap();
    let summed = Command::new("sha256sum").arg(&file).output().unwrap();
    let hex = String::from_utf8(summed.stdout).unwrap()[..64].to_owned();
    let checksum: caravan_protocol::action::Checksum = format!("sha256={hex}").parse().unwrap();
    let path = checksum.cache_path();
    let files = vec![Declared {
        checksums: vec![checksum],
    }];
    let script = script.replace("FILE", &format!("http://127.0.0.1:3128/{path}"));
    let mut action = step(ground, curl, &script, Network::Fetch(files)).action();
    action.sources = vec![vec![Source::Url(url.to_owned())]];
    action
}

fn declared(ground: &Ground) {
    let Some(curl) = curl(ground) else { return };
    let mirror = Server::start("127.0.0.1", b"archive\n".to_vec(), true);
    let url = format!("http://127.0.0.1:{}/a.tar.gz", mirror.port);
    let script = format!(
        "curl -sf FILE; curl -sf --noproxy '' {url}; curl -s --noproxy '' {url}x; \
         curl -s http://deb.debian.org/; curl -s https://deb.debian.org/; echo $?; \
         curl -s -m 5 --noproxy '*' {url}; echo $?"
    );
    let builder = builder(ground, &[], &[], 1 << 30);
    let built = build(
        ground,
        &builder,
        &fetching(ground, curl, &script, b"archive\n", &url),
    );
    let log = ground.log(&built);
    let said: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains("network:"))
        .collect();
    assert_eq!(&said[..2], ["archive", "archive"], "{log}");
    assert!(
        said[2].ends_with(
            "is none of the files that this step declared, and they are all that it may fetch"
        ),
        "{log}"
    );
    assert!(said[3].contains("deb.debian.org"), "{log}");
    // No tunnel; nothing behind its back.
    assert_eq!(&said[4..], ["56", "7"], "{log}");
    let asked = mirror.heard();
    assert_eq!(
        asked.iter().filter(|head| head.starts_with("GET")).count(),
        1,
        "{asked:?}"
    );
}

fn wrong_bytes(ground: &Ground) {
    let Some(curl) = curl(ground) else { return };
    let mirror = Server::start("127.0.0.1", b"archivE\n".to_vec(), true);
    let url = format!("http://127.0.0.1:{}/a.tar.gz", mirror.port);
    let builder = builder(ground, &[], &[], 1 << 30);
    let script = "for i in 1 2 3 4; do curl -s FILE; done";
    let action = fetching(ground, curl, script, b"archive\n", &url);
    let log = ground.log(&build(ground, &builder, &action));
    assert!(!log.contains("archivE"), "{log}");
    for who in ["caravan: network: ", "caravan: "] {
        let words = format!("{who}a declared file could not be fetched: fetch sha256=");
        let mut lines = log.lines();
        let line = lines.find(|line| line.starts_with(&words)).expect(&log);
        assert!(line.contains("wrong checksum"), "{log}");
    }
    // However often it asks, nobody out there is asked for ever.
    let asked = mirror.heard();
    let gets = asked.iter().filter(|head| head.starts_with("GET"));
    assert_eq!(gets.count(), 2, "{asked:?}");
}

fn traces(ground: &Ground) {
    let builder = builder(ground, &[], &[], 1 << 30);
    let file = "/etc/sudoers.d/caravan-proxy";
    let script = format!(
        "echo $http_proxy $https_proxy $HTTPS_PROXY $no_proxy; stat -c '%u %g %a' {file}; cat {file}"
    );
    let mut step = ground.step(&script);
    step.run.network = Network::Host;
    step.run.user = (0, 0);
    step.run
        .env
        .push(("https_proxy".to_owned(), "of-its-own".to_owned()));
    let built = build(ground, &builder, &step.action());
    let gate = "http://127.0.0.1:3128";
    let wanted = format!(
        "{gate} of-its-own {gate} localhost,127.0.0.1,::1\n0 0 440\n{}",
        caravan_egress::SUDOERS
    );
    assert_eq!(ground.log(&built), wanted);
    assert_eq!(ground.paths(&built), [""; 1]);
    let mut step = ground.step(&format!("cat {file}; true"));
    step.run.network = Network::Host;
    step.run.profile = Profile::Strict;
    assert!(
        ground
            .log(&build(ground, &builder, &step.action()))
            .contains("No such file")
    );
}

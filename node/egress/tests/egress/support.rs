//! A gate with a session behind it, and servers to reach, all on the loopback of the test.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use caravan_egress::{
    Config, Egress, Note, Policy, Resolve, Resolved, Session, Tell, Times, Upstream, policy::apt,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Longer than any test waits for a byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// The names of the tests.
#[derive(Default)]
struct Names(Mutex<BTreeMap<String, usize>>);

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Resolved {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        let addresses: &[&str] = match name {
            "mirror.test" | "rebound.test" => &["127.0.0.1"],
            "neighbour.test" => &["10.0.0.1"],
            "cloud.test" => &["169.254.169.254"],
            "mapped.test" => &["::ffff:127.0.0.1"],
            "six.test" => &["::1"],
            "mixed.test" => &["10.0.0.1", "192.168.1.1"],
            "both.test" => &["::1", "127.0.0.1"],
            _ => &[],
        };
        let mut found: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        if name == "here.test" {
            found.extend(own_address());
        }
        Box::pin(async move { Ok(found) })
    }
}

/// The address by which this machine would go out, if it has one.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// A session that runs until the test ends.
pub(crate) struct Ground {
    gate: SocketAddr,
    stop: CancellationToken,
    session: tokio::task::JoinHandle<io::Result<u64>>,
    notes: Arc<Mutex<Vec<Note>>>,
    names: Arc<Names>,
    runtime: Runtime,
}

impl Ground {
    /// Nothing is listed.
    pub(crate) fn config() -> Config {
        Config {
            // Listed, so that what they resolve to is judged.
            allow: [
                "rebound",
                "neighbour",
                "cloud",
                "mapped",
                "six",
                "mixed",
                "missing",
            ]
            .map(|name| format!("{name}.test"))
            .to_vec(),
            defaults: false,
            ..Config::default()
        }
    }

    /// `mirror.test` with this server's port is listed.
    pub(crate) fn config_of(server: &Server) -> Config {
        Config {
            private: ["mirror.test", "both.test"]
                .map(|name| format!("{name}:{}", server.port()))
                .to_vec(),
            ..Self::config()
        }
    }

    pub(crate) fn listing(server: &Server) -> Self {
        Self::new(&Self::config_of(server), [], Times::default())
    }

    pub(crate) fn new(config: &Config, own: impl IntoIterator<Item = u16>, times: Times) -> Self {
        Self::start(config, own, times, None, Egress::host)
    }

    pub(crate) fn behind(config: &Config, proxy: &Server) -> Self {
        let url = format!("http://u:p@127.0.0.1:{}", proxy.port());
        let upstream =
            Upstream::from_environment(|name| (name == "http_proxy").then(|| url.clone()));
        Self::start(
            config,
            [],
            Times::default(),
            upstream.unwrap(),
            Egress::host,
        )
    }

    /// What this text of apt's sources names is listed, beside the defaults.
    pub(crate) fn of_apt(sources: &str) -> Self {
        let config = Config::default();
        let policy = Policy::new(&config, apt::hosts_in(sources), []).unwrap();
        let (bytes, times) = (config.bytes, Times::default());
        let egress = |names| Egress::with(policy, bytes, None, names, times);
        Self::run(egress, Egress::host)
    }

    pub(crate) fn start(
        config: &Config,
        own: impl IntoIterator<Item = u16>,
        times: Times,
        upstream: Option<Upstream>,
        session: impl FnOnce(&Egress, Tell) -> Session,
    ) -> Self {
        let policy = Policy::new(config, Vec::new(), own).unwrap();
        let bytes = config.bytes;
        let egress = |names| Egress::with(policy, bytes, upstream, names, times);
        Self::run(egress, session)
    }

    fn run(
        egress: impl FnOnce(Arc<dyn Resolve>) -> Egress,
        session: impl FnOnce(&Egress, Tell) -> Session,
    ) -> Self {
        let names: Arc<Names> = Arc::default();
        let egress = egress(Arc::<Names>::clone(&names));
        let notes: Arc<Mutex<Vec<Note>>> = Arc::default();
        let told = Arc::clone(&notes);
        let session = session(
            &egress,
            Arc::new(move |note| told.lock().unwrap().push(note)),
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let session = runtime.spawn(session.serve(listener.into(), stop.clone()));
        Self {
            gate,
            stop,
            session,
            notes,
            names,
            runtime,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gate
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.gate).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Says this and reads to the end.
    pub(crate) fn ask(&self, request: &str) -> String {
        String::from_utf8_lossy(&self.ask_bytes(request)).into_owned()
    }

    pub(crate) fn ask_bytes(&self, request: &str) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    pub(crate) fn get(&self, url: &str) -> String {
        self.ask(&format!("GET {url} HTTP/1.1\r\nAccept: */*\r\n\r\n"))
    }

    /// A tunnel that was granted.
    pub(crate) fn tunnel(&self, to: &str) -> TcpStream {
        let mut stream = self.connect();
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream
    }

    pub(crate) fn all_notes(&self) -> Vec<Note> {
        self.notes.lock().unwrap().clone()
    }

    /// Every line that was told.
    pub(crate) fn notes(&self) -> Vec<String> {
        let lines = self.all_notes().into_iter().map(|note| match note {
            Note::Refused(line) | Note::Spent(line) => line,
        });
        lines.collect()
    }

    /// How often a name was looked up.
    pub(crate) fn resolved(&self, name: &str) -> usize {
        self.names.0.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// Ends the session; the bytes that it moved.
    pub(crate) fn end(self) -> u64 {
        self.stop.cancel();
        self.runtime.block_on(self.session).unwrap().unwrap()
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

type Talk = Arc<dyn Fn(TcpStream, String) + Send + Sync>;

/// A server on a port of its own, for as long as the test runs.
pub(crate) struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(reads_head: bool, talk: Talk) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let (hears, talk) = (Arc::clone(&hears), Arc::clone(&talk));
                std::thread::spawn(move || {
                    let mut head = String::new();
                    if reads_head {
                        head = read_head(&mut stream);
                        hears.lock().unwrap().push(head.clone());
                    }
                    talk(stream, head);
                });
            }
        });
        Self { port, heard }
    }

    pub(crate) fn http(body: &str) -> Self {
        let length = body.len();
        Self::raw(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: keep-alive\r\n\r\n{body}"
        ))
    }

    /// Answers every head with these bytes.
    pub(crate) fn raw(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::start(
            true,
            Arc::new(move |mut stream, _| {
                // A reader that has enough leaves.
                let _ = stream.write_all(answer.as_bytes());
            }),
        )
    }

    /// Says back what it hears.
    pub(crate) fn echo() -> Self {
        Self::start(false, Arc::new(|stream, _| echo(stream)))
    }

    /// Another proxy: answers requests itself, and says back what comes through its tunnels.
    pub(crate) fn proxy() -> Self {
        Self::start(
            true,
            Arc::new(|mut stream, head| {
                if head.starts_with("CONNECT ") {
                    stream.write_all(b"HTTP/1.1 200 Fine\r\n\r\n").unwrap();
                    echo(stream);
                } else {
                    let answer = b"HTTP/1.0 200 OK\r\n\r\nfrom the proxy";
                    stream.write_all(answer).unwrap();
                }
            }),
        )
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The heads that came.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn echo(mut stream: TcpStream) {
    let mut piece = [0; 1024];
    while let Ok(count) = stream.read(&mut piece) {
        if count == 0 || stream.write_all(&piece[..count]).is_err() {
            return;
        }
    }
}

/// A client's first message of TLS.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    let piece = |bytes: usize, inside: &[u8]| {
        [&(inside.len() as u64).to_be_bytes()[8 - bytes..], inside].concat()
    };
    let entry = [&[0][..], &piece(2, name.as_bytes())].concat();
    let extension = [&[0, 0][..], &piece(2, &piece(2, &entry))].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &piece(1, &[]),
        &piece(2, &[0x13, 1]),
        &piece(1, &[0]),
        &piece(2, &extension),
    ];
    let message = [&[1][..], &piece(3, &body.concat())].concat();
    [&[22, 3, 1][..], &piece(2, &message)].concat()
}

//! A job whose one way out is a proxy at its gate: what it asks that proxy for and must not get.
//!
//! The policy allows every name at the canary's port, which is as wide as one can be: what is left are
//! the addresses that no job may reach, however they are spelled and whatever name stands for them.
//! A proxy that looks at nothing shows that each request works.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    sync::Arc,
    thread,
    time::Duration,
};

use caravan_egress::{Config, Egress, Policy};
use caravan_sandbox::{GATE_PORT, Launcher, Network, Sandbox as _};
use tokio_util::sync::CancellationToken;

use crate::{
    Failure,
    attempt::{Verdict, errno_name},
    ground::Ground,
    host::Host,
    places::{Place, output, spec, verdicts},
};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
/// Bytes of one request to the proxy that looks at nothing.
const REQUEST_MAX: usize = 1_024;
/// Bytes that the job may move.
const BUDGET: u64 = 1 << 20;
/// Names of the pretend host's name service, each for an address that no job may reach.
const NAMES: [(&str, &str); 8] = [
    ("127.0.0.1", "loop.example"),
    ("::1", "loop6.example"),
    ("::ffff:127.0.0.1", "mapped.example"),
    ("0.0.0.0", "any.example"),
    ("169.254.169.254", "metadata.example"),
    ("10.99.0.1", "private.example"),
    ("100.64.99.1", "carrier.example"),
    ("fd00:99::1", "local.example"),
];

/// One request.
pub struct Request {
    /// Its name.
    pub id: &'static str,
    /// What it re-creates.
    pub source: &'static str,
    /// What it asks for, for people.
    pub what: &'static str,
    host: &'static str,
    plain: bool,
}

#[rustfmt::skip]
const fn ask(id: &'static str, source: &'static str, what: &'static str, host: &'static str) -> Request {
    Request { id, source, what, host, plain: false }
}

/// All of them.
#[rustfmt::skip]
pub const REQUESTS: &[Request] = &[
    ask("gate.loopback", "proxies that reach their own machine", "ask the proxy for 127.0.0.1", "127.0.0.1"),
    ask("gate.loopback-short", "filters that compare text", "the same as 127.1", "127.1"),
    ask("gate.loopback-decimal", "filters that compare text", "the same as one decimal number", "2130706433"),
    ask("gate.loopback-hex", "filters that compare text", "the same in base 16", "0x7f000001"),
    ask("gate.loopback-octal", "CVE-2021-29922", "the same in base 8", "0177.0.0.1"),
    ask("gate.loopback-6", "filters of one family", "the same as ::1", "[::1]"),
    ask("gate.loopback-mapped", "filters of one family", "the same as ::ffff:127.0.0.1", "[::ffff:127.0.0.1]"),
    ask("gate.any", "0.0.0.0 day (2024)", "the same as 0.0.0.0", "0.0.0.0"),
    ask("gate.localhost", "filters of addresses only", "the same as localhost", "localhost"),
    ask("gate.localhost-dot", "filters that compare text", "the same as localhost with a point at its end", "localhost."),
    ask("gate.metadata", "Capital One (2019)", "ask the proxy for 169.254.169.254", "169.254.169.254"),
    ask("gate.private", "RFC 1918", "ask the proxy for 10/8", "10.99.0.1"),
    ask("gate.local", "RFC 4193", "ask the proxy for fc00::/7", "[fd00:99::1]"),
    ask("gate.name-loopback", "DNS rebinding", "an allowed name that stands for 127.0.0.1", "loop.example"),
    ask("gate.name-loopback-6", "DNS rebinding", "an allowed name that stands for ::1", "loop6.example"),
    ask("gate.name-mapped", "DNS rebinding", "an allowed name that stands for ::ffff:127.0.0.1", "mapped.example"),
    ask("gate.name-any", "DNS rebinding", "an allowed name that stands for 0.0.0.0", "any.example"),
    ask("gate.name-metadata", "DNS rebinding", "an allowed name that stands for 169.254.169.254", "metadata.example"),
    ask("gate.name-private", "DNS rebinding", "an allowed name that stands for 10/8", "private.example"),
    ask("gate.name-carrier", "DNS rebinding", "an allowed name that stands for 100.64/10", "carrier.example"),
    ask("gate.name-local", "DNS rebinding", "an allowed name that stands for fc00::/7", "local.example"),
    Request { id: "gate.plain", source: "filters of CONNECT only", what: "a plain request for a name that stands for 127.0.0.1", host: "loop.example", plain: true },
];

/// The side inside: makes all requests and prints a verdict for each.
///
/// # Errors
/// If nobody can be told.
pub fn ask_all(ground: &Ground) -> io::Result<()> {
    for request in REQUESTS {
        let verdict = match asked(ground, request) {
            Ok(said) if said.contains(ground.token()) => {
                Verdict::Through("the canary answered".to_owned())
            }
            Ok(said) => Verdict::Stopped(said.lines().next().unwrap_or("closed").to_owned()),
            Err(error) => Verdict::Stopped(errno_name(&error)),
        };
        writeln!(io::stdout(), "{}\t{verdict}", request.id)?;
    }
    Ok(())
}

fn asked(ground: &Ground, request: &Request) -> io::Result<String> {
    let mut gate = TcpStream::connect(("127.0.0.1", GATE_PORT))?;
    gate.set_read_timeout(Some(ANSWER_MAX))?;
    let target = format!("{}:{}", request.host, ground.get("port"));
    let head = match request.plain {
        true => format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        false => format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
    };
    gate.write_all(head.as_bytes())?;
    let mut said = Vec::new();
    let mut piece = [0; 1024];
    // The canary speaks first, and then closes.
    while let Ok(got) = gate.read(&mut piece) {
        said.extend_from_slice(&piece[..got]);
        if got == 0 || said.len() > 64 * 1024 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Has all requests made: at a real gate, or at a proxy that looks at nothing.
///
/// # Errors
/// If nobody could be asked.
pub fn run(host: &Host, place: Place) -> Result<Vec<(String, Verdict)>, Failure> {
    let names: String = NAMES
        .iter()
        .map(|(address, name)| format!("{address} {name}\n"))
        .collect();
    let known = fs::read_to_string("/etc/hosts").unwrap_or_default();
    fs::write("/etc/hosts", known + "\n127.0.0.1 localhost\n" + &names)?;
    let about = host.ground.to_string();
    let argv = ["/bin/attempts", "gate", &about];
    match place {
        Place::Ours => at_a_gate(host, &argv),
        Place::Chroot => at_an_open_door(&argv),
        _ => Ok(Vec::new()),
    }
}

fn at_a_gate(host: &Host, argv: &[&str]) -> Result<Vec<(String, Verdict)>, Failure> {
    let launcher = Launcher::spawn()?;
    let config = Config {
        allow: vec![format!("*:{}", host.ground.get("port"))],
        defaults: false,
        ..Config::default()
    };
    let policy = Policy::new(&config, Vec::new(), [])?;
    let session = Egress::new(policy, BUDGET, None).host(Arc::new(|_| {}));
    let mut job = spec("gate", argv)?;
    job.network = Network::Gate;
    let mut running = launcher.start(&job)?;
    let gate = running.take_gate().ok_or("take the job's gate")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let stop = CancellationToken::new();
    runtime.spawn(session.serve(gate, stop.clone()));
    let mut said = String::new();
    output(&mut running)?.read_to_string(&mut said)?;
    running.wait()?;
    stop.cancel();
    Ok(verdicts(&said))
}

fn at_an_open_door(argv: &[&str]) -> Result<Vec<(String, Verdict)>, Failure> {
    let door = TcpListener::bind(("127.0.0.1", GATE_PORT))?;
    thread::spawn(move || {
        for client in door.incoming().flatten() {
            thread::spawn(move || let_through(client));
        }
    });
    let done = std::process::Command::new("chroot")
        .arg(format!("{}/base", crate::host::STORE))
        .args(argv)
        .output()?;
    Ok(verdicts(&String::from_utf8_lossy(&done.stdout)))
}

/// Connects to whatever is asked for.
fn let_through(mut client: TcpStream) -> io::Result<()> {
    let mut head = [0; REQUEST_MAX];
    let got = client.read(&mut head)?;
    let text = String::from_utf8_lossy(&head[..got]).into_owned();
    let target = text.split_whitespace().nth(1).unwrap_or("");
    let target = target.trim_start_matches("http://").trim_end_matches('/');
    let mut addresses = target.to_socket_addrs()?;
    let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
    let mut server = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    let mut said = [0; 256];
    let got = server.read(&mut said)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    client.write_all(&said[..got])
}

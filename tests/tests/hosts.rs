//! The hosts that other tests put their nodes on keep what they promise: cables have the rate, delay
//! and loss that was asked for, partitions cut, and nothing is left behind.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use caravan_tests::{
    host::{obstacle, text},
    hosts::{Lan, Link, sweep},
};

/// Long enough for a packet that is not lost, short enough to wait for one that is.
const SOON: Duration = Duration::from_millis(500);

fn skipped() -> bool {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return true;
    }
    false
}

/// A socket on a host, at its own address.
fn socket(lan: &Lan, host: usize) -> UdpSocket {
    let address = SocketAddrV4::new(lan.address(host), 0);
    lan.on(host, || {
        let socket = UdpSocket::bind(address).expect("the address is the host's");
        socket
            .set_read_timeout(Some(SOON))
            .expect("sockets have timeouts");
        socket
    })
}

/// Whether a packet from one comes to the other.
fn reaches(from: &UdpSocket, to: &UdpSocket) -> bool {
    let there = to.local_addr().expect("bound");
    let word = format!("{:?}", Instant::now());
    if from.send_to(word.as_bytes(), there).is_err() {
        return false;
    }
    let mut bytes = [0; 64];
    // What came late before is not it.
    while let Ok(length) = to.recv(&mut bytes) {
        if bytes[..length] == *word.as_bytes() {
            return true;
        }
    }
    false
}

#[test]
fn a_partition_cuts_both_ways_and_heals() {
    if skipped() {
        return;
    }
    let mut lan = Lan::new(3);
    let [a, b, c] = [0, 1, 2].map(|host| socket(&lan, host));
    let see = || {
        [
            reaches(&a, &b),
            reaches(&b, &a),
            reaches(&b, &c),
            reaches(&c, &a),
        ]
    };
    assert_eq!(see(), [true; 4]);
    lan.partition(&[&[0], &[1, 2]]);
    assert_eq!(see(), [false, false, true, false]);
    lan.heal();
    assert_eq!(see(), [true; 4]);
}

#[test]
fn a_link_delays_tcp_and_udp_and_loses_as_much_as_it_says() {
    if skipped() {
        return;
    }
    let lan = Lan::new(2);
    let [a, b] = [0, 1].map(|host| socket(&lan, host));
    assert!(reaches(&a, &b));
    let delay = Duration::from_millis(60);
    let link = Link {
        delay,
        jitter: Duration::from_millis(5),
        loss_permille: 0,
        seed: 1,
    };
    let shim = lan.shim(link);
    let began = Instant::now();
    assert!(reaches(&a, &b));
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
    let listener = lan.on(1, || TcpListener::bind((lan.address(1), 0)).expect("free"));
    let there = listener.local_addr().expect("bound");
    let began = Instant::now();
    lan.on(0, || TcpStream::connect(there).expect("it listens"));
    assert!(
        began.elapsed() >= 2 * delay,
        "there and back: {:?}",
        began.elapsed()
    );
    drop(shim);

    let shim = lan.shim(Link {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss_permille: 300,
        seed: 7,
    });
    let there = b.local_addr().expect("bound");
    let mut bytes = [0; 16];
    let come = thread::scope(|scope| {
        // Read as they come: a socket keeps a few hundred only.
        let come = scope.spawn(|| std::iter::from_fn(|| b.recv(&mut bytes).ok()).count());
        for _ in 0..1000 {
            a.send_to(b"word", there).expect("sent");
        }
        come.join().expect("it counts")
    });
    assert!((600..800).contains(&come), "{come} of 1000 came");
    drop(shim);
    let began = Instant::now();
    assert!((0..10).all(|_| reaches(&a, &b)), "nothing is lost any more");
    assert!(
        began.elapsed() < delay,
        "nor delayed: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_rate_is_not_exceeded() {
    const BYTES: usize = 1_000_000;
    if skipped() {
        return;
    }
    let lan = Lan::new(2);
    lan.rate(0, 8);
    let listener = lan.on(1, || TcpListener::bind((lan.address(1), 0)).expect("free"));
    let there = listener.local_addr().expect("bound");
    let mut from = lan.on(0, || TcpStream::connect(there).expect("it listens"));
    let (mut to, _) = listener.accept().expect("connected");
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || from.write_all(&vec![0; BYTES]).expect("taken"));
        let mut all = Vec::new();
        to.read_to_end(&mut all).expect("whole");
        assert_eq!(all.len(), BYTES);
    });
    let took = began.elapsed();
    // A second's worth, but for the bucket's first burst.
    assert!(took > Duration::from_millis(850), "{took:?}");
}

#[test]
fn a_host_behind_a_router_reaches_out_and_only_answers_reach_it() {
    if skipped() {
        return;
    }
    let mut lan = Lan::new(2);
    let inner = lan.add_behind_nat();
    let [outside, other] = [0, 1].map(|host| socket(&lan, host));
    let inside = socket(&lan, inner);
    assert!(reaches(&inside, &outside));
    let mut bytes = [0; 64];
    inside
        .send_to(b"where am I?", outside.local_addr().expect("bound"))
        .expect("sent");
    let (_, seen) = outside.recv_from(&mut bytes).expect("it came");
    assert_eq!(
        seen.ip(),
        Ipv4Addr::new(192, 0, 2, 3),
        "the router's address"
    );
    outside.send_to(b"there", seen).expect("sent");
    assert_eq!(inside.recv(&mut bytes).ok(), Some(5));
    other.send_to(b"let me in", seen).expect("sent");
    assert!(inside.recv(&mut bytes).is_err(), "a stranger was let in");
}

/// Names of the namespaces that are there.
fn namespaces() -> Vec<String> {
    let names = std::fs::read_dir("/run/netns").expect("there are some");
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}

const LEAVE: &str = "CARAVAN_TEST_LEAVES_HOSTS";

#[test]
fn what_a_killed_test_has_left_is_swept_away_and_nothing_else() {
    if skipped() {
        return;
    }
    if env::var_os(LEAVE).is_some() {
        leave();
    }
    let live = Lan::new(1);
    let itself = env::current_exe().expect("it runs");
    let mut child = Command::new(itself)
        .args([
            "--exact",
            "what_a_killed_test_has_left_is_swept_away_and_nothing_else",
        ])
        .arg("--nocapture")
        .env(LEAVE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let told = lines.map_while(Result::ok).find_map(|line| {
        let (_, told) = line.split_once("left ")?;
        let (name, process) = told.split_once(' ')?;
        Some((name.to_owned(), process.to_owned()))
    });
    let (name, process) = told.expect("it says what it leaves");
    sweep();
    assert!(namespaces().contains(&name), "its maker lives");
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let proc = format!("/proc/{process}");
    assert!(
        namespaces().contains(&name) && Path::new(&proc).exists(),
        "nobody has swept yet"
    );
    sweep();
    assert!(
        !namespaces().contains(&name),
        "the namespace is still there"
    );
    let state = std::fs::read_to_string(format!("{proc}/stat")).unwrap_or_default();
    assert!(
        state.is_empty() || state.contains(") Z "),
        "the program still runs: {state}"
    );
    assert!(
        namespaces().contains(&live.host(0).to_owned()),
        "a live test's host is gone"
    );
}

/// A test that is killed while hosts of it are there, with a program on one.
fn leave() -> ! {
    let lan = Lan::new(1);
    let name = lan.host(0);
    let mut program = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{name}"))
        .args(["sh", "-c", "echo up; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut up = [0; 3];
    program
        .stdout
        .take()
        .expect("piped")
        .read_exact(&mut up)
        .expect("it is up");
    assert_eq!(text(&up), "up\n");
    println!("left {name} {}", program.id());
    let ended = program.wait();
    panic!("nobody was killed: {ended:?}");
}

//! Sessions over real sockets: what a job at the gate gets, and what it does not.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose ground is missing must stop at once"
)]

#[path = "egress/declared.rs"]
mod declared;
#[path = "egress/support.rs"]
mod support;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use caravan_egress::{Config, Note, Times};
use support::{Ground, Server, hello};

fn page(server: &Server) -> String {
    format!("http://mirror.test:{}/page", server.port())
}

#[test]
fn a_listed_page_comes_through_as_one_answer() {
    let server = Server::http("hello from the mirror");
    let ground = Ground::listing(&server);
    let answer = ground.get(&page(&server));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nhello from the mirror"),
        "{answer}"
    );
    let heard = server.heard();
    let wanted = format!(
        "GET /page HTTP/1.1\r\nHost: mirror.test:{}\r\n",
        server.port()
    );
    assert!(heard[0].starts_with(&wanted), "{heard:?}");
    assert_eq!(ground.notes(), [""; 0]);
}

#[test]
fn what_is_not_listed_is_refused_with_words_for_the_client_and_the_log() {
    let server = Server::http("secret");
    let ground = Ground::listing(&server);
    let port = server.port();
    for (url, words) in [
        (
            "http://evil.test/".to_owned(),
            "evil.test:80 is not on this node's allow-list",
        ),
        (
            format!("http://127.0.0.1:{port}/"),
            "is not on this node's allow-list",
        ),
        (
            format!("http://localhost:{port}/"),
            "is not on this node's allow-list",
        ),
        ("http://2130706433/".to_owned(), "spelled in an unusual way"),
        ("http://mirror.test/".to_owned(), "the rule `mirror.test:"),
        (
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "not on this node's allow-list",
        ),
        (
            "http://rebound.test/".to_owned(),
            "rebound.test:80 is at 127.0.0.1, a loopback address",
        ),
        (
            "http://neighbour.test/".to_owned(),
            "10.0.0.1, a private address",
        ),
        (
            "http://cloud.test/".to_owned(),
            "169.254.169.254, the address of a cloud's metadata",
        ),
        (
            "http://mapped.test/".to_owned(),
            "an address that hides another",
        ),
        ("http://six.test/".to_owned(), "::1, a loopback address"),
    ] {
        let answer = ground.get(&url);
        assert!(
            answer.starts_with("HTTP/1.1 403 caravan: "),
            "{url}: {answer}"
        );
        assert!(answer.contains(words), "{url}: {answer}");
        let told = ground.notes();
        assert!(
            told.iter().any(|line| line.contains(words)),
            "{url}: {told:?}"
        );
    }
    let posted = ground.ask(&format!("POST http://mirror.test:{port}/ HTTP/1.1\r\n\r\n"));
    assert!(posted.starts_with("HTTP/1.1 405 caravan: POST"), "{posted}");
    assert!(
        ground
            .ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .starts_with("HTTP/1.1 400 caravan: this is a proxy")
    );
    assert!(
        ground
            .ask("GET https://mirror.test/ HTTP/1.1\r\n\r\n")
            .contains("CONNECT")
    );
    assert_eq!(server.heard(), [""; 0]);
}

#[test]
fn the_same_refusal_is_told_once_and_many_are_bounded() {
    let server = Server::http("x");
    let ground = Ground::listing(&server);
    for _ in 0..3 {
        ground.get("http://evil.test/");
    }
    assert_eq!(ground.notes().len(), 1);
    for number in 0..150 {
        ground.get(&format!("http://evil{number}.test/"));
    }
    let notes = ground.notes();
    assert_eq!(notes.len(), 101);
    assert!(notes[100].contains("more was refused"));
}

#[test]
fn of_several_addresses_only_those_for_jobs_are_tried() {
    let server = Server::http("x");
    let ground = Ground::listing(&server);
    // The first is private, the second a neighbour's; none is left.
    let answer = ground.get("http://mixed.test/");
    assert!(answer.contains("10.0.0.1, a private address"), "{answer}");
    // A listed name: the first has nobody, the second is tried.
    let answer = ground.get(&format!("http://both.test:{}/", server.port()));
    assert!(answer.ends_with("\r\n\r\nx"), "{answer}");
    assert_eq!(server.heard().len(), 1);
    let missing = ground.get("http://missing.test/");
    assert!(
        missing.starts_with("HTTP/1.1 502 caravan: find the address of missing.test:80"),
        "{missing}"
    );
}

#[test]
fn a_name_is_resolved_once_for_each_connection() {
    let server = Server::http("first");
    let ground = Ground::listing(&server);
    // Its first answer is listed and private; all later ones would be somebody else's.
    ground.get(&format!("http://mirror.test:{}/", server.port()));
    assert_eq!(ground.resolved("mirror.test"), 1);
    ground.get("http://evil.test/");
    assert_eq!(ground.resolved("evil.test"), 0);
}

#[test]
fn the_node_s_own_port_is_refused_even_where_its_host_is_listed() {
    let mesh = Server::http("mesh");
    let mut ground = Ground::config();
    ground.private = vec![format!("mirror.test:{}", mesh.port())];
    let ground = Ground::new(&ground, [mesh.port()], Times::default());
    let answer = ground.get(&page(&mesh));
    assert!(answer.contains("this node's own port"), "{answer}");
    assert_eq!(mesh.heard(), [""; 0]);
}

#[test]
fn the_node_s_own_port_is_refused_on_each_of_its_addresses() {
    if support::own_address().is_none() {
        println!("SKIPPED: this machine has no address but loopback");
        return;
    }
    let mut config = Ground::config();
    config.private = ["here.test:4100", "here.test:4101"]
        .map(str::to_owned)
        .to_vec();
    let ground = Ground::new(&config, [4100], Times::default());
    let answer = ground.get("http://here.test:4100/");
    assert!(answer.contains("this node's own port"), "{answer}");
    // Only that port: nobody is at the other.
    let answer = ground.get("http://here.test:4101/");
    assert!(
        answer.starts_with("HTTP/1.1 502 caravan: reach here.test:4101"),
        "{answer}"
    );
}

#[test]
fn whoever_says_more_than_a_request_hears_the_refusal_all_the_same() {
    let server = Server::http("x");
    let ground = Ground::listing(&server);
    let mut client = ground.connect();
    let more = "x".repeat(64 << 10);
    let request = format!("GET http://evil.test/ HTTP/1.1\r\n\r\n{more}");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.ends_with("is not on this node's allow-list\n"),
        "{answer}"
    );
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_ends_with_its_ends() {
    let server = Server::echo();
    let ground = Ground::listing(&server);
    let mut tunnel = ground.tunnel(&format!("mirror.test:{}", server.port()));
    tunnel.write_all(b"ping").unwrap();
    let mut back = [0; 4];
    tunnel.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
    tunnel.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn a_tunnel_to_port_80_or_to_nobody_is_refused() {
    let server = Server::echo();
    let mut config = Ground::config();
    config.private = vec!["mirror.test".to_owned()];
    let ground = Ground::new(&config, [], Times::default());
    let refused = ground.ask("CONNECT mirror.test:80 HTTP/1.1\r\n\r\n");
    assert!(refused.contains("not by a tunnel"), "{refused}");
    let refused = ground.ask("CONNECT mirror.test:22 HTTP/1.1\r\n\r\n");
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("another port"),
        "{refused}"
    );
    let gone = ground.ask("CONNECT mirror.test:443 HTTP/1.1\r\n\r\n");
    // Nobody listens there in a test.
    assert!(
        gone.starts_with("HTTP/1.1 502 caravan: reach mirror.test:443: 127.0.0.1: "),
        "{gone}"
    );
    drop(server);
}

#[test]
fn bytes_beyond_the_budget_cut_everything_and_say_so_once() {
    let server = Server::http(&"x".repeat(1 << 20));
    let mut config = Ground::config();
    config.private = vec![format!("mirror.test:{}", server.port())];
    config.bytes = 200_000;
    let ground = Ground::new(&config, [], Times::default());
    let mut other = ground.tunnel(&format!("mirror.test:{}", server.port()));
    let mut got = Vec::new();
    let mut client = ground.connect();
    client
        .write_all(format!("GET {} HTTP/1.1\r\n\r\n", page(&server)).as_bytes())
        .unwrap();
    // Cut, and not ended as if it were whole.
    assert!(client.read_to_end(&mut got).is_err());
    assert!(got.len() < 200_000, "{}", got.len());
    // A tunnel that was open is cut too.
    let _ = other.read_to_end(&mut Vec::new());
    let after = ground.get(&page(&server));
    assert!(
        after.starts_with("HTTP/1.1 403 caravan: the job has moved the 200000 bytes"),
        "{after}"
    );
    let told = ground.all_notes();
    let spent = told
        .iter()
        .filter(|note| matches!(note, Note::Spent(_)))
        .count();
    assert_eq!((spent, told.len()), (1, 1), "{told:?}");
    assert!(ground.end() <= 200_000);
}

#[test]
fn knocking_costs_bytes_too() {
    let server = Server::http("");
    let mut config = Ground::config();
    config.private = vec![format!("mirror.test:{}", server.port())];
    config.bytes = 20_000;
    let ground = Ground::new(&config, [], Times::default());
    let answers: Vec<String> = (0..10).map(|_| ground.get(&page(&server))).collect();
    let well = answers
        .iter()
        .filter(|text| text.starts_with("HTTP/1.1 200"))
        .count();
    assert!((1..5).contains(&well), "{answers:?}");
}

#[test]
fn a_slow_or_endless_head_is_given_up() {
    let server = Server::http("x");
    let times = Times {
        head: Duration::from_millis(200),
        ..Times::default()
    };
    let ground = Ground::new(&Ground::config_of(&server), [], times);
    let mut slow = ground.connect();
    slow.write_all(b"GET http://mirror").unwrap();
    let begun = Instant::now();
    let mut text = String::new();
    slow.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 408 caravan: "), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut endless = ground.connect();
    let field = format!("A: {}\r\n", "b".repeat(1000));
    endless
        .write_all(b"GET http://mirror.test/ HTTP/1.1\r\n")
        .unwrap();
    // It may be cut off before all of it is written.
    for _ in 0..40 {
        let _ = endless.write_all(field.as_bytes());
    }
    let mut text = Vec::new();
    let _ = endless.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 431 caravan: "),
        "{text}"
    );
    assert_eq!(server.heard(), [""; 0]);
}

#[test]
fn many_that_say_nothing_keep_nobody_out_for_long() {
    let server = Server::http("served");
    let times = Times {
        head: Duration::from_millis(300),
        ..Times::default()
    };
    let ground = Ground::new(&Ground::config_of(&server), [], times);
    let silent: Vec<TcpStream> = (0..40).map(|_| ground.connect()).collect();
    let answer = ground.get(&page(&server));
    assert!(answer.ends_with("served"), "{answer}");
    drop(silent);
}

#[test]
fn a_second_request_behind_the_first_reaches_nobody() {
    let server = Server::http("one");
    let ground = Ground::listing(&server);
    let port = server.port();
    let both = format!(
        "GET http://mirror.test:{port}/1 HTTP/1.1\r\n\r\nGET http://mirror.test:{port}/2 HTTP/1.1\r\n\r\n"
    );
    let answer = ground.ask(&both);
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.ends_with("\r\n\r\none"), "{answer}");
    let heard = server.heard();
    assert_eq!(heard.len(), 1);
    assert!(!heard[0].contains("/2"), "{heard:?}");
}

#[test]
fn a_server_that_sends_more_than_its_length_or_less_is_not_believed() {
    let more =
        Server::raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\nevil");
    let answer = Ground::listing(&more).get(&page(&more));
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
    let less = Server::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    let ground = Ground::listing(&less);
    let mut client = ground.connect();
    client
        .write_all(format!("GET {} HTTP/1.1\r\n\r\n", page(&less)).as_bytes())
        .unwrap();
    let cut = client.read_to_end(&mut Vec::new());
    assert!(cut.is_err(), "{cut:?}");
    let odd = Server::raw("SSH-2.0-x\r\n\r\n");
    let answer = Ground::listing(&odd).get(&page(&odd));
    assert!(
        answer.starts_with("HTTP/1.1 502 caravan: the answer of mirror.test"),
        "{answer}"
    );
    let silent = Server::raw("");
    let answer = Ground::listing(&silent).get(&page(&silent));
    assert!(answer.contains("it ended before there was one"), "{answer}");
}

#[test]
fn a_quiet_tunnel_is_ended() {
    let server = Server::echo();
    let times = Times {
        idle: Duration::from_millis(200),
        ..Times::default()
    };
    let ground = Ground::new(&Ground::config_of(&server), [], times);
    let mut tunnel = ground.tunnel(&format!("mirror.test:{}", server.port()));
    let begun = Instant::now();
    let _ = tunnel.read_to_end(&mut Vec::new());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_end_of_a_session_cuts_what_is_open() {
    let server = Server::echo();
    let ground = Ground::listing(&server);
    let mut tunnel = ground.tunnel(&format!("mirror.test:{}", server.port()));
    let mut silent = ground.connect();
    let address = ground.address();
    let begun = Instant::now();
    ground.end();
    let _ = tunnel.read_to_end(&mut Vec::new());
    let _ = silent.read_to_end(&mut Vec::new());
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn through_the_host_s_own_proxy_go_names_that_are_listed_and_no_others() {
    let proxy = Server::proxy();
    let mut config = Ground::config();
    config.allow = vec!["git.test".to_owned(), "10.0.0.1".to_owned()];
    let ground = Ground::behind(&config, &proxy);
    let answer = ground.get("http://git.test/x");
    assert!(answer.ends_with("\r\n\r\nfrom the proxy"), "{answer}");
    let heard = proxy.heard();
    assert!(
        heard[0].starts_with(
            "GET http://git.test/x HTTP/1.1\r\nHost: git.test\r\nProxy-Authorization: Basic dTpw\r\n"
        ),
        "{heard:?}"
    );
    assert!(ground.get("http://evil.test/").starts_with("HTTP/1.1 403"));
    // An address that is not public is not the proxy's to reach either.
    assert!(ground.get("http://10.0.0.1/").contains("a private address"));
    let refused = ground.ask("CONNECT shut.git.test:443 HTTP/1.1\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert_eq!(proxy.heard().len(), 1);
    // Nothing was resolved here.
    assert_eq!(ground.resolved("git.test"), 0);
}

#[test]
fn a_tunnel_to_the_port_of_https_carries_tls_for_its_host_and_nothing_else() {
    let proxy = Server::proxy();
    let mut config = Ground::config();
    config.allow = vec!["git.test".to_owned()];
    let ground = Ground::behind(&config, &proxy);
    let mut good = ground.tunnel("git.test:443");
    let bytes = hello("git.test");
    // Cut where it hurts.
    good.write_all(&bytes[..7]).unwrap();
    good.write_all(&bytes[7..]).unwrap();
    let mut back = vec![0; bytes.len()];
    good.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
    for (bytes, words) in [
        (hello("evil.test"), "was used to ask for \"evil.test\""),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            "carries TLS and nothing else",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: git.test\r\n\r\n".to_vec(),
            "carries TLS and nothing else",
        ),
    ] {
        let mut tunnel = ground.tunnel("git.test:443");
        tunnel.write_all(&bytes).unwrap();
        let mut said = Vec::new();
        tunnel.read_to_end(&mut said).unwrap();
        assert_eq!(said, [21, 3, 3, 0, 2, 2, 112]);
        assert!(
            ground.notes().iter().any(|line| line.contains(words)),
            "{words}"
        );
    }
    let shut = Ground::behind(&config, &Server::raw("HTTP/1.1 407 No\r\n\r\n"));
    let refused = shut.ask("CONNECT git.test:443 HTTP/1.1\r\n\r\n");
    assert!(
        refused.contains("this node's own proxy does not reach git.test:443: it says 407"),
        "{refused}"
    );
}

#[test]
fn the_default_rules_admit_no_name_of_a_test() {
    let ground = Ground::new(&Config::default(), [], Times::default());
    assert!(
        ground
            .get("http://mirror.test/")
            .starts_with("HTTP/1.1 403")
    );
}

#[test]
fn a_denied_address_is_not_reached_under_any_name() {
    let server = Server::http("x");
    let mut config = Ground::config_of(&server);
    config.deny = vec!["127.0.0.1".to_owned()];
    let ground = Ground::new(&config, [], Times::default());
    let answer = ground.get(&page(&server));
    assert!(
        answer.starts_with("HTTP/1.1 403")
            && answer.contains("denied by this node's rule `127.0.0.1`"),
        "{answer}"
    );
    assert_eq!(server.heard(), [""; 0]);
}

#[test]
fn the_head_of_an_answer_costs_its_bytes() {
    let field = "x".repeat(30_000);
    let server = Server::raw(&format!(
        "HTTP/1.1 200 OK\r\nX: {field}\r\nContent-Length: 0\r\n\r\n"
    ));
    let mut config = Ground::config_of(&server);
    config.bytes = 20_000;
    let ground = Ground::new(&config, [], Times::default());
    let answer = ground.get(&page(&server));
    assert!(
        answer.starts_with("HTTP/1.1 403 caravan: the job has moved"),
        "{answer}"
    );
    assert!(matches!(ground.all_notes()[..], [Note::Spent(_)]));
    // What is too long to be a head was moved as well.
    let endless = Server::raw(&"x".repeat(100_000));
    let mut config = Ground::config_of(&endless);
    config.bytes = 60_000;
    let ground = Ground::new(&config, [], Times::default());
    ground.get(&page(&endless));
    assert!(matches!(ground.all_notes()[..], [Note::Spent(_)]));
}

#[test]
fn an_answer_is_announced_eight_times_at_most() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend";
    let some = Server::raw(&format!("{}{whole}", interim.repeat(8)));
    let ground = Ground::listing(&some);
    let answer = ground.get(&page(&some));
    assert!(
        answer.ends_with("\r\n\r\nend") && !answer.contains("103"),
        "{answer}"
    );
    assert!(ground.end() > 4096 + 8 * interim.len() as u64 + whole.len() as u64);
    let many = Server::raw(&format!("{}{whole}", interim.repeat(9)));
    let answer = Ground::listing(&many).get(&page(&many));
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("announced too often"),
        "{answer}"
    );
}

#[test]
fn what_comes_with_the_grant_of_the_host_s_own_proxy_is_counted_and_passed_on() {
    let (grant, early) = ("HTTP/1.1 200 Fine\r\n\r\n", "SSH-2.0-early\r\n");
    let proxy = Server::raw(&format!("{grant}{early}"));
    let mut config = Ground::config();
    config.allow = vec!["git.test:22".to_owned()];
    let ground = Ground::behind(&config, &proxy);
    let mut tunnel = ground.tunnel("git.test:22");
    tunnel.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    tunnel.read_to_string(&mut said).unwrap();
    assert_eq!(said, early);
    let asked = proxy.heard()[0].len() as u64;
    assert_eq!(
        ground.end(),
        4096 + asked + (grant.len() + early.len()) as u64
    );
    let field = "x".repeat(30_000);
    let wordy = Server::raw(&format!("HTTP/1.1 200 Fine\r\nX: {field}\r\n\r\n"));
    config.bytes = 20_000;
    let ground = Ground::behind(&config, &wordy);
    let answer = ground.ask("CONNECT git.test:22 HTTP/1.1\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 403 caravan: the job has moved"),
        "{answer}"
    );
}

#[test]
fn a_package_source_in_the_clear_is_no_tunnel() {
    let server = Server::http("packages");
    let port = server.port();
    let ground = |scheme: &str| {
        let source = format!("deb {scheme}://mirror.test:{port}/debian x main");
        Ground::of_apt(&source)
    };
    let clear = ground("http");
    assert!(clear.get(&page(&server)).ends_with("packages"));
    let connect = format!("CONNECT mirror.test:{port} HTTP/1.1\r\n\r\n");
    let refused = clear.ask(&connect);
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("not by a tunnel"),
        "{refused}"
    );
    assert_eq!(server.heard().len(), 1);
    ground("https").tunnel(&format!("mirror.test:{port}"));
}

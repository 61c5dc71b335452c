//! Heads as clients write them, and as nobody should.

use proptest::prelude::*;

use super::*;

fn plain(head: &str) -> Plain {
    match parse(head.as_bytes()) {
        Ok(Request::Plain(plain)) => plain,
        other => panic!("{head:?}: {other:?}"),
    }
}

fn written(head: &str) -> String {
    let plain = plain(head);
    let target = plain.target.clone().unwrap();
    String::from_utf8(plain.written(&target, None)).unwrap()
}

#[test]
fn requests_of_the_usual_tools_are_understood() {
    let apt = "GET http://deb.debian.org/debian/dists/bookworm/InRelease HTTP/1.1\r\n\
               Host: deb.debian.org\r\nAccept: text/*\r\nUser-Agent: Debian APT-HTTP/1.3\r\n\r\n";
    assert_eq!(
        written(apt),
        "GET /debian/dists/bookworm/InRelease HTTP/1.1\r\nHost: deb.debian.org\r\n\
         Accept: text/*\r\nUser-Agent: Debian APT-HTTP/1.3\r\nConnection: close\r\n\r\n"
    );
    let curl = "GET http://a.test:8080?x=1 HTTP/1.1\r\nHost: a.test:8080\r\n\
                Proxy-Connection: Keep-Alive\r\nProxy-Authorization: Basic eA==\r\n\r\n";
    assert_eq!(
        written(curl),
        "GET /?x=1 HTTP/1.1\r\nHost: a.test:8080\r\nConnection: close\r\n\r\n"
    );
    let git = "CONNECT github.com:443 HTTP/1.1\r\nHost: github.com:443\r\n\
               User-Agent: git/2.39\r\nProxy-Connection: Keep-Alive\r\n\r\n";
    let Ok(Request::Tunnel(target)) = parse(git.as_bytes()) else {
        panic!("no tunnel");
    };
    assert_eq!(target.to_string(), "github.com:443");
    let head = plain("HEAD http://a.test/ HTTP/1.0\r\n\r\n");
    assert!(head.is_head && head.fields.is_empty());
    let old = written("GET http://a.test/ HTTP/1.0\r\n\r\n");
    assert_eq!(
        old,
        "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        plain("GET /sha256/ab HTTP/1.1\r\nHost: x\r\n\r\n").target,
        None
    );
}

#[test]
fn fields_of_one_connection_stay_here() {
    let text = written(
        "GET http://a.test/ HTTP/1.1\r\nConnection: close, X-Secret , te\r\nX-Secret: 1\r\n\
         Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nVia: y\r\n\
         Expect: 100-continue\r\nRange: bytes=0-\r\n\r\n",
    );
    assert_eq!(
        text,
        "GET / HTTP/1.1\r\nHost: a.test\r\nRange: bytes=0-\r\nConnection: close\r\n\r\n"
    );
}

/// Ways to hide a second request in the first, or to be two things to two readers.
const SMUGGLED: &[&str] = &[
    "GET http://a.test/ HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nContent-Length: +0\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nContent-Length: 0, 5\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\n Transfer-Encoding: chunked\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\nHost: a.test\n\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nA: b\nHost: evil.test\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nA: b\rHost: evil.test\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nA: b\nB: c\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\nA: b\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nA: b\0c\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: evil.test\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nHost: a.test:81\r\n\r\n",
    "GET http://a.test/ HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
    "GET http://user:word@a.test/ HTTP/1.1\r\n\r\n",
    "GET http://a.test\\@evil.test/ HTTP/1.1\r\n\r\n",
    "GET http://a.test\\evil.test/ HTTP/1.1\r\n\r\n",
    "GET http://a.test#@evil.test/ HTTP/1.1\r\n\r\n",
    "GET http://a.test/ http://evil.test/ HTTP/1.1\r\n\r\n",
    "GET  http://a.test/ HTTP/1.1\r\n\r\n",
    "GET http:///path HTTP/1.1\r\n\r\n",
    "GET http://?x HTTP/1.1\r\n\r\n",
    "GET a.test HTTP/1.1\r\n\r\n",
    "GET * HTTP/1.1\r\n\r\n",
    "GET http://a.test/ HTTP/2.0\r\n\r\n",
    "GET http://a.test/\r\n\r\n",
    "\r\nGET http://a.test/ HTTP/1.1 \r\nX\r\n\r\n",
    "GET http://a.test/\u{a0}x HTTP/1.1\r\n\r\n",
    "CONNECT a.test HTTP/1.1\r\n\r\n",
    "CONNECT http://a.test:443/ HTTP/1.1\r\n\r\n",
    "CONNECT user@a.test:443 HTTP/1.1\r\n\r\n",
    "CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n",
    "CONNECT a.test:443 HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    "CONNECT a.test:443:80 HTTP/1.1\r\n\r\n",
    "POST http://a.test/ HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    "POST http://a.test/ HTTP/1.1\r\n\r\n",
    "PUT http://a.test/ HTTP/1.1\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\n\r\n",
    "TRACE http://a.test/ HTTP/1.1\r\n\r\n",
    "get http://a.test/ HTTP/1.1\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\n",
    "GET https://a.test/ HTTP/1.1\r\n\r\n",
    "GET ftp://a.test/ HTTP/1.1\r\n\r\n",
    "GET file:///etc/passwd HTTP/1.1\r\n\r\n",
    "GET gopher://a.test/ HTTP/1.1\r\n\r\n",
    "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "\r\n\r\n",
];

#[test]
fn what_two_readers_read_differently_is_not_forwarded() {
    for head in SMUGGLED {
        let refused = parse(head.as_bytes());
        assert!(refused.is_err(), "{head:?}: {refused:?}");
    }
    assert!(SMUGGLED.len() > 40);
}

#[test]
fn more_fields_than_any_request_has_are_refused() {
    let head = format!(
        "GET http://a.test/ HTTP/1.1\r\n{}\r\n",
        "A: b\r\n".repeat(FIELDS_MAX + 1)
    );
    let refused = parse(head.as_bytes()).unwrap_err().to_string();
    assert!(refused.contains("too many fields"), "{refused}");
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(mut head in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&head);
        head.extend_from_slice(b"\r\n\r\n");
        let _ = parse(&head);
    }

    #[test]
    fn what_is_forwarded_is_one_request_to_the_host_that_was_judged(
        host in "[a-z]{1,8}\\.test",
        path in "[!-\"$-\\[\\]-~]{0,40}",
        fields in proptest::collection::vec(("[A-Za-z-]{1,20}", "[ -~]{0,30}"), 0..8),
    ) {
        let fields: String = fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let head = format!("GET http://{host}/{path} HTTP/1.1\r\n{fields}\r\n");
        if let Ok(Request::Plain(plain)) = parse(head.as_bytes()) {
            let target = plain.target.clone().unwrap();
            prop_assert_eq!(target.host.to_string(), host.clone());
            let text = String::from_utf8(plain.written(&target, None)).unwrap();
            prop_assert_eq!(text.matches("\r\n\r\n").count(), 1);
            let named = |name: &str| {
                text.lines().filter(|line| line.to_ascii_lowercase().starts_with(name)).count()
            };
            prop_assert_eq!(named("host:"), 1);
            prop_assert_eq!(named("connection:"), 1);
            prop_assert_eq!(named("content-length:") + named("transfer-encoding:"), 0);
            let host_line = format!("\r\nHost: {host}\r\n");
            prop_assert!(text.contains(&host_line));
        }
    }
}

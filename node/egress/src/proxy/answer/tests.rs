//! Answers of servers, good and bad, and our own words.

use super::*;

fn target() -> Target {
    Target::parse("a.test", Some(80)).unwrap()
}

fn parse(head: &str) -> Result<Option<Head>, Fault> {
    Head::parse(head.as_bytes(), false, &target())
}

#[test]
fn an_answer_keeps_its_fields_but_those_of_the_connection() {
    let head = parse(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: x\r\n\
         Alt-Svc: h3\r\nETag: \"e\"\r\n\r\n",
    );
    let head = head.unwrap().unwrap();
    assert_eq!(head.length(), Some(5));
    assert_eq!(
        String::from_utf8(head.written()).unwrap(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"e\"\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn the_length_of_a_body_is_known_or_its_end_tells() {
    for (head, length) in [
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            Some(0),
        ),
        ("HTTP/1.1 204 No\r\n\r\n", Some(0)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        ("HTTP/1.0 200 OK\r\n\r\n", None),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n",
            Some(7),
        ),
    ] {
        assert_eq!(parse(head).unwrap().unwrap().length(), length, "{head:?}");
    }
    let to_head = Head::parse(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        true,
        &target(),
    );
    assert_eq!(to_head.unwrap().unwrap().length(), Some(0));
}

#[test]
fn an_answer_with_two_readings_is_not_passed_on() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 999 Odd\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\r\n\r\n",
    ] {
        assert!(parse(head).is_err(), "{head:?}");
    }
    assert!(
        parse("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
            .unwrap()
            .is_none()
    );
}

#[test]
fn our_words_are_one_answer_whatever_is_in_them() {
    let hostile = "x\r\nSet-Cookie: y\r\n\r\nHTTP/1.1 200 OK\u{1b}[2J\u{202e}";
    let fault = Fault::NotFetched(hostile.to_owned());
    let text = String::from_utf8(fault.answer().unwrap()).unwrap();
    assert!(text.is_ascii() && !text.contains('\u{1b}'));
    assert_eq!(text.matches("\r\n\r\n").count(), 1);
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("Set-Cookie"))
            .count(),
        0
    );
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 502 caravan: a declared file could not be fetched: "));
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{text}"
    );
}

//! Hellos of TLS, whole, cut, and made up.

use proptest::prelude::*;

use super::*;

fn piece(length_bytes: usize, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_be_bytes();
    [&length[8 - length_bytes..], bytes].concat()
}

fn extension(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &piece(2, bytes)].concat()
}

fn server_name(name: &str) -> Vec<u8> {
    let entry = [&[0][..], &piece(2, name.as_bytes())].concat();
    extension(0, &piece(2, &entry))
}

/// A hello as a client's library writes it.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &piece(1, &[9; 32]),
        &piece(2, &[0x13, 1, 0x13, 2]),
        &piece(1, &[0]),
        &piece(2, &extensions.concat()),
    ]
    .concat();
    [&[CLIENT_HELLO][..], &piece(3, &body)].concat()
}

fn record(bytes: &[u8]) -> Vec<u8> {
    [&[HANDSHAKE, 3, 1][..], &piece(2, bytes)].concat()
}

fn hello(name: &str) -> Vec<u8> {
    let groups = extension(10, &[0, 2, 0, 29]);
    record(&message(&[
        groups.clone(),
        server_name(name),
        extension(43, &[2, 3, 4]),
    ]))
}

#[test]
fn the_name_of_a_hello_is_found_wherever_it_is_cut() {
    let whole = hello("git.test");
    assert_eq!(read(&whole), Hello::For(Some("git.test".to_owned())));
    for end in 0..whole.len() {
        assert_eq!(read(&whole[..end]), Hello::Partial, "{end}");
    }
    let more = [&whole[..], b"\x17\x03\x03"].concat();
    assert_eq!(read(&more), Hello::For(Some("git.test".to_owned())));
    // One message in three records.
    let message = message(&[server_name("git.test")]);
    let (one, rest) = message.split_at(3);
    let (two, three) = rest.split_at(40);
    let cut = [record(one), record(two), record(three)].concat();
    assert_eq!(read(&cut), Hello::For(Some("git.test".to_owned())));
}

#[test]
fn a_hello_for_nobody_is_one() {
    assert_eq!(read(&record(&message(&[]))), Hello::For(None));
}

#[test]
fn other_protocols_are_none() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x02\x00\x00\x05",
        b"\x17\x03\x03\x00\x05hello",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x80\x2e\x01\x00\x02",
        b"\0",
    ] {
        assert_eq!(read(bytes), Hello::Foreign, "{bytes:?}");
    }
    let two = record(&message(&[server_name("a.test"), server_name("b.test")]));
    assert_eq!(read(&two), Hello::Foreign);
    let entry = [piece(2, b"a.test"), piece(2, b"b.test")].map(|name| [&[0][..], &name].concat());
    let both = record(&message(&[extension(0, &piece(2, &entry.concat()))]));
    assert_eq!(read(&both), Hello::Foreign);
}

#[test]
fn a_tunnel_is_for_the_host_that_it_was_granted_for() {
    let name = Host::Name("git.test".to_owned());
    assert!(fits(Some("GIT.test"), &name));
    for other in [
        Some("evil.test"),
        Some("git.test."),
        Some(""),
        Some("x.git.test"),
        None,
    ] {
        assert!(!fits(other, &name), "{other:?}");
    }
    let address = Host::Address([1, 1, 1, 1].into());
    assert!(fits(None, &address) && !fits(Some("evil.test"), &address));
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read(&record(&bytes));
        let _ = read(&record(&[&[CLIENT_HELLO][..], &piece(3, &bytes)].concat()));
    }

    #[test]
    fn a_changed_byte_never_breaks_it(at in 0_usize..120, to: u8) {
        let mut bytes = hello("git.test");
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = read(&bytes);
    }
}

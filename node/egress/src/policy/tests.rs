//! The policy's corpus: who gets out, who does not, and why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// Every address that has been used to get from a build into a network, and some of everybody's.
const ADDRESSES: &[(&str, Kind)] = &[
    ("0.0.0.0", Kind::Unspecified),
    ("0.1.2.3", Kind::Unspecified),
    ("127.0.0.1", Kind::Loopback),
    ("127.255.255.254", Kind::Loopback),
    ("10.0.0.1", Kind::Private),
    ("10.255.255.255", Kind::Private),
    ("172.16.0.1", Kind::Private),
    ("172.31.255.255", Kind::Private),
    ("172.15.255.255", Kind::Public),
    ("172.32.0.1", Kind::Public),
    ("192.168.0.1", Kind::Private),
    ("192.168.255.255", Kind::Private),
    ("192.167.0.1", Kind::Public),
    ("100.64.0.1", Kind::Private),
    ("100.127.255.255", Kind::Private),
    ("100.128.0.1", Kind::Public),
    ("100.63.255.255", Kind::Public),
    ("198.18.0.1", Kind::Private),
    ("198.19.255.255", Kind::Private),
    ("198.20.0.1", Kind::Public),
    ("169.254.0.1", Kind::LinkLocal),
    ("169.254.169.254", Kind::Metadata),
    ("169.254.170.2", Kind::Metadata),
    ("169.254.170.23", Kind::Metadata),
    ("100.100.100.200", Kind::Metadata),
    ("168.63.129.16", Kind::Metadata),
    ("168.63.129.17", Kind::Public),
    ("192.0.0.1", Kind::Reserved),
    ("192.0.2.1", Kind::Documentation),
    ("192.88.99.1", Kind::Embedding),
    ("198.51.100.7", Kind::Documentation),
    ("203.0.113.9", Kind::Documentation),
    ("224.0.0.1", Kind::Multicast),
    ("239.255.255.250", Kind::Multicast),
    ("240.0.0.1", Kind::Reserved),
    ("255.255.255.255", Kind::Reserved),
    ("1.1.1.1", Kind::Public),
    ("151.101.2.132", Kind::Public),
    ("::", Kind::Unspecified),
    ("::1", Kind::Loopback),
    ("::2", Kind::Embedding),
    ("::127.0.0.1", Kind::Embedding),
    ("::ffff:127.0.0.1", Kind::Embedding),
    ("::ffff:10.0.0.1", Kind::Embedding),
    ("::ffff:1.1.1.1", Kind::Embedding),
    ("::ffff:0:127.0.0.1", Kind::Embedding),
    ("64:ff9b::127.0.0.1", Kind::Embedding),
    ("64:ff9b::169.254.169.254", Kind::Embedding),
    ("64:ff9b::192.168.1.1", Kind::Embedding),
    ("64:ff9b::1.1.1.1", Kind::Public),
    ("64:ff9b:1::1.1.1.1", Kind::Embedding),
    ("2002:7f00:1::", Kind::Embedding),
    ("2002:101:101::1", Kind::Embedding),
    ("2001::1", Kind::Embedding),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Kind::Embedding),
    ("2001:2::1", Kind::Reserved),
    ("2001:10::1", Kind::Reserved),
    ("2001:db8::1", Kind::Documentation),
    ("3fff::1", Kind::Documentation),
    ("100::1", Kind::Reserved),
    ("fc00::1", Kind::Private),
    ("fd12:3456::1", Kind::Private),
    ("fd00:ec2::254", Kind::Metadata),
    ("fe80::1", Kind::LinkLocal),
    ("febf::1", Kind::LinkLocal),
    ("fec0::1", Kind::LinkLocal),
    ("ff02::1", Kind::Multicast),
    ("5f00::1", Kind::Reserved),
    ("4000::1", Kind::Reserved),
    ("2606:4700:4700::1111", Kind::Public),
    ("2a04:4e42::644", Kind::Public),
];

#[test]
fn every_address_is_known_for_what_it_is() {
    for (text, wanted) in ADDRESSES {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(address::kind(address), *wanted, "{text}");
    }
    assert!(ADDRESSES.len() > 60);
}

fn policy(allow: &[&str], deny: &[&str], private: &[&str]) -> Result<Policy, PolicyError> {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let config = Config {
        allow: own(allow),
        deny: own(deny),
        private: own(private),
        defaults: false,
        bytes: 1,
    };
    Policy::new(&config, Vec::new(), [4100])
}

fn target(text: &str) -> Target {
    Target::parse(text, Some(80)).unwrap()
}

/// How a name may not be written, with what is said of it.
const SPELLINGS: &[(&str, &str)] = &[
    ("", "no host"),
    (":80", "no host"),
    ("user@deb.debian.org", "a user before it"),
    ("deb.debian.org@10.0.0.1", "a user before it"),
    ("deb.debian.org:80@10.0.0.1", "a user before it"),
    ("2130706433", "unusual"),
    ("017700000001", "unusual"),
    ("0x7f000001", "unusual"),
    ("0X7F000001", "unusual"),
    ("127.1", "unusual"),
    ("127.0.1", "unusual"),
    ("0177.0.0.1", "unusual"),
    ("127.0.0.01", "unusual"),
    ("127.0.0.0x1", "unusual"),
    ("0x7f.0.0.1", "unusual"),
    ("10.0.0.256", "unusual"),
    ("1.2.3.4.5", "unusual"),
    ("example.0x", "unusual"),
    ("[::1", "unusual"),
    ("[fe80::1%eth0]", "unusual"),
    ("[fe80::1%25eth0]", "unusual"),
    ("[127.0.0.1]", "unusual"),
    ("[::1]x", "no port"),
    ("::1", "no host"),
    ("127.0.0.1.", "a dot"),
    ("deb.debian.org.", "a dot"),
    (".", "a dot"),
    ("deb..debian.org", "no name"),
    (".debian.org", "no name"),
    ("deb.debian.org%00.evil.example", "no name"),
    ("deb%2edebian.org", "no name"),
    ("deb.debian.org\\@evil.example", "a user before it"),
    ("deb.debian.org\\.evil.example", "no name"),
    ("deb debian.org", "no name"),
    ("deb.debian.org\r\nHost: x", "no name"),
    ("d\u{435}b.debian.org", "no name"),
    ("\u{ff11}27.0.0.1", "no name"),
    ("127\u{3002}0\u{3002}0\u{3002}1", "no name"),
    ("-deb.debian.org", "no name"),
    ("deb.debian.org:0", "no port"),
    ("deb.debian.org:", "no port"),
    ("deb.debian.org:+80", "no port"),
    ("deb.debian.org:080", "no port"),
    ("deb.debian.org:65536", "no port"),
    ("deb.debian.org:80:80", "no port"),
    ("deb.debian.org:http", "no port"),
];

#[test]
fn there_is_one_way_to_write_a_host() {
    for (text, words) in SPELLINGS {
        let refused = Target::parse(text, Some(80)).unwrap_err().to_string();
        assert!(refused.contains(words), "{text:?}: {refused}");
        assert!(
            refused.is_ascii() && !refused.contains(['\r', '\n']),
            "{refused}"
        );
    }
    let long = format!("{}.org", "a.".repeat(200));
    assert_eq!(Target::parse(&long, None), Err(Spelling::TooLong));
    for good in [
        "a",
        "Deb.Debian.ORG",
        "1e100.net",
        "a_b.c",
        "[::1]:443",
        "10.0.0.1",
        "x.y-z:8080",
    ] {
        let read = target(good);
        assert_eq!(target(&read.to_string()), read, "{good}");
    }
}

#[test]
fn only_listed_names_on_listed_ports_are_admitted() {
    let allow = [
        "deb.debian.org",
        "*.example.org",
        "git.test:8080",
        "1.1.1.1",
    ];
    let policy = policy(&allow, &["bad.example.org", "deb.debian.org:8443"], &[]).unwrap();
    let said = |text: &str| match policy.admit(&target(text)) {
        Ok(leave) => {
            assert!(!leave.private);
            "ok"
        }
        Err(Refusal::NotListed(_)) => "not listed",
        Err(Refusal::Port { .. }) => "port",
        Err(Refusal::Denied { .. }) => "denied",
        Err(other) => panic!("{other}"),
    };
    for (text, wanted) in [
        ("deb.debian.org", "ok"),
        ("DEB.debian.org:443", "ok"),
        ("deb.debian.org:22", "port"),
        ("deb.debian.org:4100", "port"),
        ("deb.debian.org:8443", "denied"),
        ("a.example.org", "ok"),
        ("a.b.example.org", "ok"),
        ("example.org", "not listed"),
        ("aexample.org", "not listed"),
        ("example.org.evil.test", "not listed"),
        ("bad.example.org", "denied"),
        ("bad.example.org:22", "denied"),
        ("deb.debian.org.evil.test", "not listed"),
        ("git.test:8080", "ok"),
        ("git.test:80", "port"),
        ("1.1.1.1", "ok"),
        ("1.1.1.2", "not listed"),
        ("localhost", "not listed"),
        ("metadata", "not listed"),
        ("metadata.google.internal", "not listed"),
        ("169.254.169.254", "not listed"),
        ("127.0.0.1:4100", "not listed"),
        ("[::1]:80", "not listed"),
        ("[::ffff:127.0.0.1]:80", "not listed"),
    ] {
        assert_eq!(said(text), wanted, "{text}");
    }
}

#[test]
fn a_star_stands_for_names_and_never_for_addresses() {
    let policy = policy(&["*"], &[], &[]).unwrap();
    assert!(policy.admit(&target("anything.test")).is_ok());
    for address in ["1.1.1.1", "10.0.0.1", "127.0.0.1", "[2606:4700::1]"] {
        assert!(policy.admit(&target(address)).is_err(), "{address}");
    }
}

#[test]
fn behind_a_public_name_only_public_addresses_are_reached() {
    let policy = policy(&["deb.debian.org", "*"], &[], &[]).unwrap();
    let target = target("deb.debian.org");
    let leave = policy.admit(&target).unwrap();
    for (text, kind) in ADDRESSES {
        let address = text.parse().unwrap();
        let judged = policy.admit_address(&target, leave, address, false);
        assert_eq!(judged.is_ok(), *kind == Kind::Public, "{text}: {judged:?}");
        assert!(
            policy.admit_address(&target, leave, address, true).is_err(),
            "{text}"
        );
    }
}

#[test]
fn a_private_name_opens_its_own_network_and_never_metadata_or_our_ports() {
    let private = ["mirror.lan", "mirror.lan:4100", "10.1.2.3"];
    let policy = policy(&[], &[], &private).unwrap();
    let mirror = target("mirror.lan");
    let leave = policy.admit(&mirror).unwrap();
    assert!(leave.private && leave.direct);
    for (text, kind) in ADDRESSES {
        let judged = policy.admit_address(&mirror, leave, text.parse().unwrap(), false);
        let open = matches!(
            kind,
            Kind::Public | Kind::Loopback | Kind::Private | Kind::Documentation | Kind::LinkLocal
        );
        assert_eq!(judged.is_ok(), open, "{text}: {judged:?}");
    }
    let mesh = target("mirror.lan:4100");
    let leave = policy.admit(&mesh).unwrap();
    for (address, own) in [("127.0.0.1", false), ("10.0.0.1", true), ("1.1.1.1", true)] {
        let judged = policy.admit_address(&mesh, leave, address.parse().unwrap(), own);
        assert!(
            matches!(judged, Err(Refusal::OwnPort { .. })),
            "{address}: {judged:?}"
        );
    }
    let other = policy.admit_address(&mesh, leave, "10.0.0.1".parse().unwrap(), false);
    assert!(other.is_ok());
    assert!(policy.admit(&target("10.1.2.3")).is_ok());
    assert!(policy.admit(&target("10.1.2.4")).is_err());
}

#[test]
fn a_denied_address_is_denied_behind_every_name() {
    let deny = ["1.1.1.1", "[2606:4700::1]:8443", "10.1.2.3"];
    let policy = policy(&["*", "*:8443"], &deny, &["mirror.lan"]).unwrap();
    let judged = |name: &str, address: &str| {
        let target = target(name);
        let leave = policy.admit(&target).unwrap();
        match policy.admit_address(&target, leave, address.parse().unwrap(), false) {
            Ok(()) => "ok".to_owned(),
            Err(Refusal::Denied { rule, .. }) => rule,
            Err(other) => panic!("{other}"),
        }
    };
    for (name, address, wanted) in [
        ("a.test", "1.1.1.1", "1.1.1.1"),
        ("a.test:8443", "1.1.1.1", "1.1.1.1"),
        ("mirror.lan", "1.1.1.1", "1.1.1.1"),
        ("mirror.lan", "10.1.2.3", "10.1.2.3"),
        ("mirror.lan", "10.1.2.4", "ok"),
        ("a.test", "1.1.1.2", "ok"),
        // The same machine, as a network without IPv4 sees it.
        ("a.test", "64:ff9b::1.1.1.1", "1.1.1.1"),
        ("a.test", "64:ff9b::1.1.1.2", "ok"),
        ("a.test", "2606:4700::1", "ok"),
        ("a.test:8443", "2606:4700::1", "[2606:4700::1]:8443"),
    ] {
        assert_eq!(judged(name, address), wanted, "{name} {address}");
    }
}

#[test]
fn only_a_package_source_over_https_is_a_tunnel_unless_a_rule_lists_it() {
    let packages = apt::hosts_in(
        "deb http://clear.lan:3142/debian x main\n\
         deb https://tls.lan:8443/debian x main\n\
         deb http://both.lan:9/debian x main\ndeb https://both.lan:9/debian x main\n\
         deb http://listed.lan:3142/debian x main\n",
    );
    let config = Config {
        private: vec!["listed.lan:3142".to_owned()],
        ..Config::default()
    };
    let policy = Policy::new(&config, packages, []).unwrap();
    for (text, tunnel) in [
        ("clear.lan:3142", false),
        ("tls.lan:8443", true),
        ("both.lan:9", true),
        ("listed.lan:3142", true),
    ] {
        assert_eq!(
            policy.admit(&target(text)).unwrap().tunnel,
            tunnel,
            "{text}"
        );
    }
}

#[test]
fn package_sources_of_the_host_are_admitted_at_their_port_unless_told_otherwise() {
    let packages = apt::hosts_in("deb http://mirror.lan:3142/debian bookworm main\n");
    let mut config = Config::default();
    let open = Policy::new(&config, packages.clone(), []).unwrap();
    let mirror = target("mirror.lan:3142");
    let leave = open.admit(&mirror).unwrap();
    assert!(leave.private && !leave.direct);
    assert!(open.admit(&target("mirror.lan")).is_err());
    assert!(open.admit(&target("deb.debian.org")).is_ok());
    config.defaults = false;
    let shut = Policy::new(&config, packages, []).unwrap();
    assert!(shut.admit(&mirror).is_err());
    assert!(shut.admit(&target("deb.debian.org")).is_err());
}

#[test]
fn hosts_of_apt_are_found_in_both_of_its_formats() {
    let list = "# deb http://off.test/debian x main\n\
                deb [arch=amd64 signed-by=/k.gpg] https://a.test/debian bookworm main # http://no.test\n\
                deb-src http://user:word@b.test:8080/debian bookworm main\n\
                deb mirror+http://c.test/list.txt bookworm main\n\
                deb file:/srv/debian bookworm main\n\
                deb cdrom:[Debian]/ bookworm main\n\
                deb http://0x7f.1/debian bookworm main\n";
    let shown = |text: &str| -> Vec<String> {
        apt::hosts_in(text)
            .iter()
            .map(|mirror| mirror.target.to_string())
            .collect()
    };
    assert_eq!(shown(list), ["a.test:443", "b.test:8080", "c.test:80"]);
    let sources = "Types: deb\nURIs: http://d.test/debian\n https://e.test:444/x\n\
                   Suites: s\n\nTypes: deb\nEnabled: no\nURIs: http://off.test/\n";
    assert_eq!(shown(sources), ["d.test:80", "e.test:444"]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
    for (name, text) in [
        ("sources.list", list),
        ("sources.list.d/d.sources", sources),
        (
            "sources.list.d/x.list.disabled",
            "deb http://off.test x main",
        ),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    assert_eq!(apt::hosts(dir.path()).len(), 5);
    assert!(apt::hosts(&dir.path().join("nowhere")).is_empty());
}

#[test]
fn rules_that_say_nothing_clear_are_refused_with_their_text() {
    for bad in [
        "",
        "https://deb.debian.org",
        "deb.debian.org/debian",
        "*.",
        "*x",
        "a.*.org",
        "*:x",
        "127.1",
        "deb.debian.org.",
        "*.10.0.0.1",
        "[::1",
        "*.[::1]",
        "a b",
    ] {
        let refused = policy(&[bad], &[], &[]).unwrap_err().to_string();
        assert!(
            refused.contains("`allow` of [egress]") && refused.contains(&format!("{bad:?}")),
            "{refused}"
        );
    }
    assert!(matches!(
        policy(&[], &[], &["*.lan"]),
        Err(PolicyError::Wide(_))
    ));
    assert!(matches!(
        policy(&[], &[], &["*"]),
        Err(PolicyError::Wide(_))
    ));
    let many = vec!["a"; RULES_MAX + 1];
    assert!(matches!(
        policy(&many, &[], &[]),
        Err(PolicyError::TooMany { .. })
    ));
    for good in [
        "*",
        "*:8080",
        "*.debian.org",
        "a.b:1",
        "[2606::1]:443",
        "10.0.0.1",
    ] {
        let rule: Rule = good.parse().unwrap();
        assert_eq!(rule.to_string(), good);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_is_read_again(text in ".{0,60}") {
        if let Ok(target) = Target::parse(&text, Some(80)) {
            prop_assert_eq!(Target::parse(&target.to_string(), None), Ok(target));
        }
        let _ = text.parse::<Rule>();
        let _ = apt::hosts_in(&text);
    }

    #[test]
    fn texts_like_addresses_are_one_address_to_all(parts in proptest::collection::vec("(0x)?[0-9a-fA-F]{0,4}", 1..6)) {
        let text = parts.join(".");
        if let Ok(Target { host: Host::Name(name), .. }) = Target::parse(&text, Some(80)) {
            // No resolver reads it as a number.
            let last = name.rsplit('.').next().unwrap();
            let hex = last.strip_prefix("0x");
            prop_assert!(last.bytes().any(|b| !b.is_ascii_digit()));
            prop_assert!(hex.is_none_or(|d| d.bytes().any(|b| !b.is_ascii_hexdigit())));
        }
    }

    #[test]
    fn what_the_library_calls_private_is_never_public(bits: u32, high: u64, low: u64) {
        let v4 = Ipv4Addr::from_bits(bits);
        let odd = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
            || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
        prop_assert!(!odd || address::kind(v4.into()) != Kind::Public);
        prop_assert_ne!(address::kind(v4.to_ipv6_mapped().into()), Kind::Public);
        prop_assert_ne!(address::kind(v4.to_ipv6_compatible().into()), Kind::Public);
        let v6 = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        let odd = v6.is_loopback() || v6.is_multicast() || v6.is_unique_local()
            || v6.is_unicast_link_local() || v6.to_ipv4().is_some();
        prop_assert!(!odd || address::kind(v6.into()) != Kind::Public);
    }

    #[test]
    fn without_a_rule_nothing_is_admitted(name in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", port in 1_u16..) {
        let none = Policy::default();
        let text = format!("{name}:{port}");
        prop_assert!(none.admit(&target(&text)).is_err());
    }
}

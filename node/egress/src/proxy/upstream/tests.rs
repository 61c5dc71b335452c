//! The host's own proxy, as environments name it.

use super::*;

fn from(variables: &[(&str, &str)]) -> Result<Option<Upstream>, UpstreamError> {
    Upstream::from_environment(|name| {
        let found = variables.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn a_proxy_is_read_from_the_environment() {
    assert_eq!(from(&[]), Ok(None));
    assert_eq!(from(&[("http_proxy", "")]), Ok(None));
    let upstream = from(&[
        ("http_proxy", "http://us%40er:pa%3Ass@proxy.lan:8080/"),
        ("no_proxy", "localhost, .corp.test,10.0.0.1"),
    ]);
    let upstream = upstream.unwrap().unwrap();
    assert_eq!((upstream.host.as_str(), upstream.port), ("proxy.lan", 8080));
    let line = upstream.authorization().unwrap();
    let coded = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(BASE64.decode(coded.as_bytes()).unwrap(), b"us@er:pa:ss");
    assert!(!format!("{upstream:?}").contains(&coded));
    for (host, exempt) in [
        ("localhost", true),
        ("a.corp.test", true),
        ("corp.test", true),
        ("acorp.test", false),
        ("10.0.0.1", true),
        ("deb.debian.org", false),
    ] {
        assert_eq!(
            upstream.exempts(&Host::parse(host).unwrap()),
            exempt,
            "{host}"
        );
    }
    let bare = from(&[("HTTPS_PROXY", "10.0.0.9:3128")]).unwrap().unwrap();
    assert_eq!((bare.host.as_str(), bare.port), ("10.0.0.9", 3128));
}

#[test]
fn a_proxy_that_is_not_understood_is_never_passed_by() {
    for bad in [
        "https://proxy.lan:443",
        "socks5://proxy.lan:1080",
        "http://proxy.lan:x",
        "http://",
        "http://a/b",
        "http://%zz@a",
    ] {
        let refused = from(&[("https_proxy", bad)]).unwrap_err().to_string();
        assert!(
            refused.contains("https_proxy") && !refused.contains("proxy.lan"),
            "{refused}"
        );
    }
}

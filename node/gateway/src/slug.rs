//! Slugs: one path segment that names a project, a branch or a variant in an address. Different
//! names have different slugs, and a slug never needs escaping in an address or an attribute.

use caravan_protocol::ids::BlobId;

use crate::limits;

/// The slug of a name: letters, digits and `-._:()+@,` stand for themselves (a leading dot does
/// not), `/` is `~`, every other byte is `=` and two hexadecimal digits. A name that would become
/// too long is named by its hash.
pub(crate) fn of(name: &str) -> String {
    let mut slug = String::with_capacity(name.len() + 8);
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => slug.push('~'),
            b'.' if at == 0 => slug.push_str("=2E"),
            b if is_plain(b) => slug.push(char::from(b)),
            b => slug.push_str(&format!("={b:02X}")),
        }
        if slug.len() > limits::SLUG_BYTES_MAX {
            return format!("=h{}", BlobId::of(name.as_bytes()));
        }
    }
    if slug.is_empty() {
        "=".to_owned()
    } else {
        slug
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b':' | b'(' | b')' | b'+' | b'@' | b','
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_readable() {
        let of_url = of("https://github.com/mirage/astring.git");
        assert_eq!(of_url, "https:~~github.com~mirage~astring.git");
        assert_eq!(of("debian-12-4.13_opam-2.1"), "debian-12-4.13_opam-2.1");
        assert_eq!(of("(analysis)"), "(analysis)");
        assert_eq!(of(".."), "=2E.");
        assert_eq!(of(""), "=");
        assert_eq!(of("<script>"), "=3Cscript=3E");
        assert_eq!(of(&"é".repeat(500)).len(), 66);
    }

    fn decode(slug: &str) -> Option<Vec<u8>> {
        if slug == "=" {
            return Some(Vec::new());
        }
        let mut out = Vec::new();
        let mut rest = slug.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'~' => out.push(b'/'),
                b'=' => {
                    let digits = [rest.next()?, rest.next()?];
                    let digits = std::str::from_utf8(&digits).ok()?;
                    out.push(u8::from_str_radix(digits, 16).ok()?);
                }
                byte => out.push(byte),
            }
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn a_slug_can_be_read_back(name in ".{0,60}") {
            let slug = of(&name);
            if !slug.starts_with("=h") {
                prop_assert_eq!(decode(&slug), Some(name.into_bytes()));
            }
            prop_assert!(slug.bytes().all(|b| is_plain(b) || b == b'~' || b == b'='));
        }
    }
}

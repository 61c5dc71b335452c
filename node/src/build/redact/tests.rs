use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use proptest::prelude::*;

use super::*;

fn redact(secrets: &[&[u8]], pieces: &[&[u8]]) -> Vec<u8> {
    let secrets: Vec<(&str, &[u8])> = secrets.iter().map(|value| ("id", *value)).collect();
    let mut redactor = Redactor::new(&secrets).expect("good secrets");
    let longest = redactor.held.capacity() / 2;
    let mut out = Vec::new();
    for piece in pieces {
        redactor.pass(piece, &mut out);
        let held = redactor.held.len() - redactor.head;
        assert!(held < longest.max(1), "{held} bytes are held back");
    }
    redactor.end(&mut out);
    out
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

fn one(secret: &str, output: &str) -> String {
    text(redact(&[secret.as_bytes()], &[output.as_bytes()]))
}

/// What it should do, in the plainest words: look everywhere for everything, then write.
fn naive(secrets: &[&[u8]], output: &[u8]) -> Vec<u8> {
    let mut secret = vec![false; output.len()];
    for form in secrets.iter().flat_map(|value| forms::of(value)) {
        for at in 0..output.len() {
            if output[at..].starts_with(&form) {
                secret[at..at + form.len()].fill(true);
            }
        }
    }
    let mut out = Vec::new();
    for (at, byte) in output.iter().enumerate() {
        match (secret[at], at > 0 && secret[at - 1]) {
            (false, _) => out.push(*byte),
            (true, false) => out.extend_from_slice(MARK),
            (true, true) => {}
        }
    }
    out
}

#[test]
fn a_secret_over_any_border_becomes_a_mark() {
    let output = b"token=hunter2-hunter2 and hunter\n";
    let want = b"token=***-*** and hunter\n";
    for cut in 0..=output.len() {
        let (head, tail) = output.split_at(cut);
        assert_eq!(redact(&[b"hunter2"], &[head, tail]), want, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = output.chunks(1).collect();
    assert_eq!(redact(&[b"hunter2"], &bytes), want);
}

#[test]
fn what_is_held_back_comes_out_when_it_is_no_secret() {
    assert_eq!(redact(&[b"hunter2"], &[b"hun", b"g"]), b"hung");
    assert_eq!(redact(&[b"hunter2"], &[b"hunter"]), b"hunter");
    let mut redactor = Redactor::new(&[("id", b"hunter2")]).expect("good");
    let mut out = Vec::new();
    redactor.pass(b"the hunter", &mut out);
    assert_eq!(out, b"the ");
    redactor.end(&mut out);
    assert_eq!(out, b"the hunter");
}

#[test]
fn secrets_that_overlap_or_touch_give_nothing_away() {
    let secrets: [&[u8]; 3] = [b"abcdef", b"defghi", b"cdef"];
    assert_eq!(redact(&secrets, &[b"xabcdefghix"]), b"x***x");
    assert_eq!(redact(&secrets, &[b"xcdefabcdefx"]), b"x***x");
    assert_eq!(redact(&secrets, &[b"abcdefgh"]), b"***gh");
    assert_eq!(redact(&secrets, &[b"abcde", b"fghi"]), b"***");
    assert_eq!(redact(&[b"abcd", b"abcdefgh"], &[b"abcdefgx"]), b"***efgx");
    // One inside of another that does not come to its end.
    assert_eq!(redact(&[b"cdef", b"abcdefgh"], &[b"abcdefgx"]), b"ab***gx");
    assert_eq!(redact(&[b"aaaa"], &[b"aaaaaaaaa"]), b"***");
}

#[test]
fn escapes_and_all_other_bytes_pass_as_they_are() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(redact(&[b"hunter2"], &[&all]), all);
    let coloured = "\u{1b}[1;31mhunter2\u{1b}[0m\r\n";
    assert_eq!(one("hunter2", coloured), "\u{1b}[1;31m***\u{1b}[0m\r\n");
    assert_eq!(redact(&[], &[&all]), all);
}

#[test]
fn base64_is_found_alone_and_inside_of_other_text() {
    let secret = b"correct horse battery";
    for before in ["", "u", "us", "user:", "x:y:z"] {
        for after in ["", "\n", "@host", "ab"] {
            let whole = [before.as_bytes(), secret, after.as_bytes()].concat();
            for encoded in [
                BASE64.encode(&whole),
                BASE64_NOPAD.encode(&whole),
                BASE64URL_NOPAD.encode(&whole),
            ] {
                let shown = one("correct horse battery", &encoded);
                let known = encoded.len() - (secret.len() * 8 / 6 - 1);
                assert!(shown.contains("***"), "{encoded} became {shown}");
                assert!(
                    shown.replace("***", "").len() <= known,
                    "{encoded} became {shown}"
                );
            }
        }
    }
    assert_eq!(one("hunter2", &BASE64.encode(b"hunter2")), "***");
    assert_eq!(one("hunter2\n", &BASE64.encode(b"hunter2")), "***");
    assert_eq!(one("hunter2", &BASE64_NOPAD.encode(b"hunter2")), "***");
}

#[test]
fn wrapped_base64_is_found_line_by_line() {
    let secret: Vec<u8> = (0..200).map(|n: u8| n.wrapping_mul(37)).collect();
    let encoded = BASE64.encode(&secret);
    for columns in [64, 76] {
        let lines: Vec<&str> = (0..encoded.len())
            .step_by(columns)
            .map(|at| &encoded[at..encoded.len().min(at + columns)])
            .collect();
        let shown = text(redact(&[&secret], &[lines.join("\n").as_bytes()]));
        assert_eq!(shown, vec!["***"; lines.len()].join("\n"));
    }
}

#[test]
fn url_encodings_are_found() {
    let secret = "p@ss word/(é)~*";
    for encoded in [
        "p%40ss%20word%2F%28%C3%A9%29~%2A",
        "p%40ss%20word%2f%28%c3%a9%29~%2a",
        "p%40ss+word%2F%28%C3%A9%29%7E*",
        "p%40ss+word%2f(%c3%a9)%7e*",
        "p%40ss%20word%2F(%C3%A9)~*",
        "p@ss%20word/(%C3%A9)~*",
        "p%40ss%20word/%28%C3%A9%29~%2A",
    ] {
        let url = format!("https://u:{encoded}@host/");
        assert_eq!(one(secret, &url), "https://u:***@host/");
    }
}

#[test]
fn each_long_line_of_a_secret_is_one() {
    let key =
        "-----BEGIN KEY-----\r\nAAAAB3NzaC1yc2E\n  indented line  \nshort\n-----END KEY-----\n";
    let output = "a AAAAB3NzaC1yc2E b indented line c short d\n-----END KEY-----\n";
    assert_eq!(one(key, output), "a *** b *** c short d\n***\n");
    assert_eq!(one(key, key), "***");
    assert_eq!(
        one("hunter2\n", "say hunter2, twice: hunter2\n"),
        "say ***, twice: ***"
    );
}

#[test]
fn secrets_that_cannot_be_redacted_are_refused_by_name() {
    for short in [&b""[..], b"abc", b"abc\n", b"  a\tb\n"] {
        let error = Redactor::new(&[("good", b"long enough"), ("npm", short)]);
        let error = error.expect_err("it is short");
        assert_eq!(error, RedactError::Short { id: "npm".into() });
        let text = error.to_string();
        assert!(text.contains("npm") && !text.contains("abc"), "{text}");
    }
    assert!(Redactor::new(&[("npm", b" abcd\n")]).is_ok());
    let long = vec![b'x'; SECRET_BYTES_MAX + 1];
    let error = Redactor::new(&[("big", &long)]).expect_err("it is long");
    assert!(matches!(error, RedactError::Long { .. }), "{error}");
    let many = vec![("id", &b"long enough"[..]); SECRETS_MAX + 1];
    let error = Redactor::new(&many).expect_err("there are many");
    assert!(matches!(error, RedactError::TooMany { .. }), "{error}");
}

#[test]
fn the_largest_secret_is_found_and_two_are_too_much() {
    let large = |length: usize, seed: u64| -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut state = seed;
        for byte in &mut bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 33) as u8;
        }
        bytes
    };
    let (one, two) = (large(SECRET_BYTES_MAX, 1), large(100_000, 2));
    let error = Redactor::new(&[("a", &one), ("b", &two)]).expect_err("too much");
    assert_eq!(error, RedactError::TooMuch { id: "b".into() });
    let mut redactor = Redactor::new(&[("a", &one)]).expect("it fits alone");
    let mut out = Vec::new();
    for piece in one.chunks(10_000) {
        redactor.pass(piece, &mut out);
    }
    redactor.pass(b" is ", &mut out);
    redactor.pass(BASE64.encode(&one).as_bytes(), &mut out);
    redactor.end(&mut out);
    assert_eq!(out, b"*** is ***");
}

#[test]
fn output_made_of_half_secrets_takes_no_more_than_its_length() {
    // Every byte could begin the secret, and none does: what is held is moved as rarely as it can.
    let secret = [vec![b'a'; 20_000], vec![b'b']].concat();
    let output = vec![b'a'; 300_000];
    assert!(redact(&[&secret], &[&output]) == output);
    let secret = vec![b'a'; 20_000];
    assert_eq!(redact(&[&secret], &[&output]), b"***");
}

#[test]
fn nothing_shows_a_secret_of_the_redactor() {
    let redactor = Redactor::new(&[("id", b"hunter2")]).expect("good");
    assert_eq!(format!("{redactor:?}"), "Redactor(after 0 bytes)");
}

/// Secrets of few letters, so that they overlap in every way.
fn secret() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n')], 4..24)
        .prop_filter("long enough", |value| value.trim_ascii().len() >= 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_pieces_give_what_the_whole_gives(
        secrets in proptest::collection::vec(secret(), 0..4),
        parts in proptest::collection::vec(
            prop_oneof![
                4 => proptest::collection::vec(
                    prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n'), Just(b'%')],
                    0..12,
                ).prop_map(|bytes| (bytes, None)),
                3 => any::<[prop::sample::Index; 3]>().prop_map(|form| (Vec::new(), Some(form))),
            ],
            0..12,
        ),
        cuts in proptest::collection::vec(1usize..9, 1..20),
    ) {
        let secrets: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        let mut output = Vec::new();
        for (bytes, form) in parts {
            output.extend_from_slice(&bytes);
            // A form of a secret, or the beginning of one.
            if let (Some([which, form, cut]), false) = (form, secrets.is_empty()) {
                let forms = forms::of(secrets[which.index(secrets.len())]);
                let form = &forms[form.index(forms.len())];
                let cut = cut.index(2 * form.len()) + 1;
                output.extend_from_slice(&form[..cut.min(form.len())]);
            }
        }
        let mut pieces = Vec::new();
        let mut rest = output.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            rest = after;
        }
        let want = naive(&secrets, &output);
        prop_assert_eq!(redact(&secrets, &pieces), want.clone());
        prop_assert_eq!(redact(&secrets, &[&output]), want);
    }

    #[test]
    fn random_bytes_pass_or_are_marked(
        secrets in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 8..40), 1..4,
        ),
        output in proptest::collection::vec(any::<u8>(), 0..400),
        cut in 1usize..50,
    ) {
        let secrets: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        prop_assume!(secrets.iter().all(|value| value.trim_ascii().len() >= 4));
        let pieces: Vec<&[u8]> = output.chunks(cut).collect();
        let out = redact(&secrets, &pieces);
        prop_assert!(out.len() <= output.len());
        prop_assert_eq!(out, naive(&secrets, &output));
    }
}

//! The renderer against what terminals do and against what attackers send.

use proptest::prelude::*;

use super::*;

fn plain(bytes: &[u8]) -> String {
    render(bytes, &Options::default()).html
}

#[test]
fn colours_and_weights_become_classes() {
    assert_eq!(
        plain(b"\x1b[31mred\x1b[0m x"),
        "<span class=\"f1\">red</span> x\n"
    );
    assert_eq!(
        plain(b"\x1b[1;92;44mx"),
        "<span class=\"f10 b4 sb\">x</span>\n"
    );
    assert_eq!(
        plain(b"\x1b[38;5;208mx\x1b[39my"),
        "<span class=\"f208\">x</span>y\n"
    );
    assert_eq!(
        plain(b"\x1b[38;2;255;0;0mx\x1b[m"),
        "<span class=\"f196\">x</span>\n"
    );
    assert_eq!(
        plain(b"\x1b[4mu\x1b[24mv"),
        "<span class=\"su\">u</span>v\n"
    );
    assert_eq!(plain(b"\x1b[7mx"), "<span class=\"fi bi\">x</span>\n");
}

#[test]
fn a_style_goes_on_over_the_end_of_a_line() {
    assert_eq!(
        plain(b"\x1b[32ma\nb"),
        "<span class=\"f2\">a</span>\n<span class=\"f2\">b</span>\n"
    );
}

#[test]
fn carriage_returns_and_backspaces_overwrite() {
    assert_eq!(plain(b"10%\r50%\r100%\n"), "100%\n");
    assert_eq!(plain(b"long text\rok\x1b[K\n"), "ok\n");
    assert_eq!(plain(b"long text\rok\n"), "okng text\n");
    assert_eq!(plain(b"ab\x08c\r\n"), "ac\n");
    assert_eq!(plain(b"a\x1b[2Kb\n"), "b\n");
    assert_eq!(plain(b"\x08\x08a\tb\n"), "a       b\n");
}

#[test]
fn other_escapes_are_dropped() {
    let link = b"\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x1b\\ me";
    assert_eq!(plain(link), "click me\n");
    assert_eq!(
        plain(b"\x1b]0;title\x1b\\x\x1b[2J\x1b[10;3Hy\x1b(Bz\x1b7"),
        "xyz\n"
    );
    assert_eq!(plain(b"\x1bP+q\x1b\\a\x1b[?25lb"), "ab\n");
    assert_eq!(plain(b"open \x1b]8;;x\nnext"), "open \nnext\n");
    assert_eq!(plain("\x1b[31\u{e9}<b>".as_bytes()), "\u{e9}&lt;b&gt;\n");
    assert_eq!(plain(b"end\x1b"), "end\n");
}

#[test]
fn markup_bidi_and_invalid_bytes_stay_inert() {
    assert_eq!(plain(b"<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;\n");
    assert_eq!(plain("a\u{202e}b\u{9b}31m".as_bytes()), "a\u{fffd}b31m\n");
    assert_eq!(plain(b"\xff\x00ok"), "\u{fffd}ok\n");
}

#[test]
fn lines_are_numbered_and_errors_found() {
    let options = Options {
        prefix: "s7-",
        first_line: 10,
        numbered: true,
    };
    let out = render(b"fine\n\x1b[1;31mError\x1b[0m: Unbound value\n", &options);
    assert_eq!(
        out.html,
        "<span class=\"l\" id=\"s7-L10\"><a href=\"#s7-L10\">10</a>fine</span>\n\
         <span class=\"l e\" id=\"s7-L11\"><a href=\"#s7-L11\">11</a><span class=\"f1 sb\">Error</span>: Unbound value</span>\n"
    );
    assert_eq!((out.next_line, out.errors), (12, vec![11]));
}

#[test]
fn no_character_of_an_overlong_line_is_lost() {
    let line = "x".repeat(3 * limits::LINE_CELLS_MAX + 5);
    assert_eq!(plain(line.as_bytes()).trim_end().len(), line.len());
}

#[test]
fn the_output_is_bounded() {
    let bytes = "\x1b[31mx\x1b[32my".repeat(40_000) + "\n";
    let out = render(bytes.repeat(20).as_bytes(), &Options::default());
    assert!(out.cut);
    assert!(out.html.len() < 2 * limits::LOG_HTML_BYTES);
}

proptest! {
    #[test]
    fn no_bytes_make_an_element_of_their_own(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let html = plain(&bytes);
        let spans = html.replace("</span>", "");
        for part in spans.split('<').skip(1) {
            prop_assert!(part.starts_with("span class=\""), "{part:?}");
        }
        prop_assert_eq!(html.matches("<span").count(), html.matches("</span>").count());
    }

    #[test]
    fn escapes_never_reach_the_page(
        parts in proptest::collection::vec(
            prop_oneof!["\x1b\\[[0-9;:?]{0,8}[a-zA-Z]?", "\x1b[\\]P_^X][a-z;]{0,5}", "\\PC{0,4}", "[\r\n\x07\x08]"],
            0..40,
        )
    ) {
        let html = plain(parts.concat().as_bytes());
        prop_assert!(!html.chars().any(|c| c != '\n' && c.is_control()));
    }
}

//! Layers that were made to do harm, and layers that are only odd: each ends with words that name
//! what is wrong, or with an outcome that is written down here.

use caravan_protocol::tree::Kind;

use crate::kit::{Head, Tar, chain, layers, listing, sum};

/// What becomes of a layer.
enum Outcome {
    /// Refused with these words.
    Refused(&'static str),
    /// Taken, with these files.
    Holds(&'static [&'static str]),
}
use Outcome::{Holds, Refused};

fn tar() -> Tar {
    Tar::default()
}

/// A header whose bytes at an offset are replaced, with a good checksum.
fn forged(head: &Head, at: usize, bytes: &[u8]) -> Tar {
    let mut block = head.block();
    block[at..at + bytes.len()].copy_from_slice(bytes);
    sum(&mut block);
    tar().raw(&block)
}

fn check(cases: Vec<(&str, Vec<u8>, Outcome)>) {
    check_all(&[], cases);
}

/// The same for layers above one with two files.
fn check_over(cases: Vec<(&str, Vec<u8>, Outcome)>) {
    check_all(&[tar().file("d/a", "1").file("e", "1").end()], cases);
}

fn check_all(lower: &[Vec<u8>], cases: Vec<(&str, Vec<u8>, Outcome)>) {
    for (name, bytes, outcome) in cases {
        let all = [lower, &[bytes]].concat();
        match (layers(&all), outcome) {
            (Ok((imported, blobs)), Holds(want)) => {
                assert_eq!(listing(&imported, &blobs), want, "{name}");
            }
            (Err(error), Refused(word)) => {
                let words = chain(&error);
                assert!(words.contains(word), "{name}: {words}");
            }
            (Ok((imported, blobs)), Refused(word)) => {
                let there = listing(&imported, &blobs);
                panic!("{name}: wanted {word:?}, but it was taken: {there:?}");
            }
            (Err(error), Holds(_)) => panic!("{name}: {}", chain(&error)),
        }
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let long = vec![b'n'; 300];
    let deep = "d/".repeat(2100);
    check(vec![
        (
            "upwards",
            tar().file("../etc/passwd", "x").end(),
            Refused("upwards"),
        ),
        (
            "upwards in the middle",
            tar().file("a/../../b", "x").end(),
            Refused("upwards"),
        ),
        (
            "upwards at the end",
            tar().dir("a/..").end(),
            Refused("upwards"),
        ),
        (
            "absolute",
            tar().file("/etc/passwd", "x").end(),
            Refused("absolute"),
        ),
        ("no name", tar().file("", "x").end(), Refused("no name")),
        (
            "NUL in a pax name",
            tar().pax(&[("path", b"a\0b")]).file("a", "x").end(),
            Refused("NUL"),
        ),
        (
            "upwards in a pax name",
            tar().pax(&[("path", b"../../x")]).file("a", "x").end(),
            Refused("upwards"),
        ),
        (
            "absolute in a long GNU name",
            tar()
                .data(Head::new("././@LongLink", b'L'), b"/etc/cron.d/x\0")
                .file("a", "x")
                .end(),
            Refused("absolute"),
        ),
        (
            "a name of 300 bytes",
            tar().pax(&[("path", &long)]).file("a", "x").end(),
            Refused("longer"),
        ),
        (
            "a path of 4200 bytes",
            tar().pax(&[("path", deep.as_bytes())]).file("a", "x").end(),
            Refused("longer"),
        ),
        (
            "the root as a file",
            tar().file("./", "x").end(),
            Refused("root"),
        ),
        (
            "dots and slashes that say nothing",
            tar().dir("./").file(".//a/./b", "x").end(),
            Holds(&["a/", "a/b=x"]),
        ),
    ]);
}

#[test]
fn links_reach_nothing_outside() {
    let circle = tar().symlink("a", "b").symlink("b", "a").file("a/x", "x");
    check(vec![
        (
            "hard link upwards",
            tar().link("h", b'1', "../../etc/shadow").end(),
            Refused("upwards"),
        ),
        (
            "hard link to this machine's file",
            tar().link("h", b'1', "/etc/shadow").end(),
            Refused("no earlier file"),
        ),
        (
            "hard link from the image's root",
            tar().file("f", "x").link("h", b'1', "/f").end(),
            Holds(&["f=x", "h=x"]),
        ),
        (
            "hard link to what comes later",
            tar().link("h", b'1', "f").file("f", "x").end(),
            Refused("no earlier file"),
        ),
        (
            "hard link to itself",
            tar().link("h", b'1', "h").end(),
            Refused("no earlier file"),
        ),
        (
            "hard link to a directory",
            tar().dir("d").link("h", b'1', "d").end(),
            Refused("directory"),
        ),
        (
            "hard link through a link out",
            tar().symlink("l", "/etc").link("h", b'1', "l/shadow").end(),
            Refused("no earlier file"),
        ),
        (
            "a link, then a file written through it: it stays in the image",
            tar()
                .symlink("l", "../../../../etc")
                .file("l/passwd", "x")
                .end(),
            Holds(&["etc/", "etc/passwd=x", "l>../../../../etc"]),
        ),
        (
            "a link, then a file in its place: the link is gone",
            tar().symlink("l", "/etc/passwd").file("l", "x").end(),
            Holds(&["l=x"]),
        ),
        (
            "an absolute link to this machine is only a name",
            tar().symlink("l", "/proc/self/root/etc").end(),
            Holds(&["l>/proc/self/root/etc"]),
        ),
        ("links in a circle", circle.end(), Refused("symbolic links")),
        (
            "a link to nothing",
            tar().symlink("l", "").end(),
            Refused("to nothing"),
        ),
        (
            "a file below a file",
            tar().file("a", "x").file("a/b", "x").end(),
            Refused("below"),
        ),
    ]);
}

#[test]
fn whiteouts_say_what_they_may_and_nothing_else() {
    check_over(vec![
        (
            "of the parent",
            tar().file("d/.wh...", "").end(),
            Refused("no file"),
        ),
        (
            "of nothing",
            tar().file(".wh.", "").end(),
            Refused("no file"),
        ),
        (
            "upwards",
            tar().file("d/../../.wh.e", "").end(),
            Refused("upwards"),
        ),
        (
            "as a directory",
            tar().dir(".wh.e").end(),
            Refused("whiteout is a file"),
        ),
        (
            "as a link",
            tar().symlink(".wh..wh..opq", "/").end(),
            Refused("whiteout is a file"),
        ),
        (
            "with files below",
            tar().file(".wh.e/x", "").end(),
            Refused("below a whiteout"),
        ),
        (
            "of what the layer itself brings: it stays",
            tar().file("e", "2").file(".wh.e", "").end(),
            Holds(&["d/", "d/a=1", "e=2"]),
        ),
        (
            "of what is not there",
            tar().file(".wh.nothing", "").end(),
            Holds(&["d/", "d/a=1", "e=1"]),
        ),
        (
            "a device with the numbers of an overlay's whiteout hides nothing",
            tar().head(&Head::new("e", b'3')).end(),
            Holds(&["d/", "d/a=1", "e=1"]),
        ),
        (
            "notes of an old file system",
            tar()
                .dir(".wh..wh.plnk")
                .file(".wh..wh.plnk/1.2", "x")
                .end(),
            Holds(&["d/", "d/a=1", "e=1"]),
        ),
        (
            "of everything",
            tar().file(".wh..wh..opq", "").file("n", "2").end(),
            Holds(&["n=2"]),
        ),
    ]);
}

#[test]
fn odd_kinds_of_files_are_left_out_with_a_note_or_refused() {
    let devices = tar()
        .head(&Head::new("dev/null", b'3'))
        .head(&Head::new("disk", b'4'))
        .head(&Head::new("pipe", b'6'))
        .file("f", "x")
        .end();
    let (imported, blobs) = layers(&[devices]).expect("only notes");
    assert_eq!(listing(&imported, &blobs), ["f=x"]);
    assert_eq!(imported.notes.len(), 3, "{:?}", imported.notes);
    assert!(imported.notes[1].contains("\"disk\"") && imported.notes[1].contains("block device"));
    let owner = Head {
        uid: 65_536,
        ..Head::new("f", b'0')
    };
    check(vec![
        ("owner", tar().head(&owner).end(), Refused("65536")),
        (
            "owner in pax",
            tar().pax(&[("uid", b"4294967295")]).file("f", "x").end(),
            Refused("4294967295"),
        ),
        (
            "a part of a volume",
            tar().head(&Head::new("f", b'M')).end(),
            Refused("volume"),
        ),
        (
            "a type of its own",
            tar().head(&Head::new("f", b'Z')).end(),
            Refused("'Z'"),
        ),
        (
            "a link with content",
            tar()
                .head(&Head {
                    size: 512,
                    link: b"x".to_vec(),
                    ..Head::new("l", b'2')
                })
                .raw(&Head::new("hidden", b'0').block())
                .end(),
            Refused("no content"),
        ),
        (
            "a directory's size is no length",
            tar()
                .head(&Head {
                    size: 512,
                    ..Head::new("d", b'5')
                })
                .file("d/f", "x")
                .end(),
            Holds(&["d/", "d/f=x"]),
        ),
    ]);
}

#[test]
fn what_comes_twice_counts_as_it_was_last() {
    check(vec![
        (
            "a file",
            tar().file("a", "1").file("./a", "2").end(),
            Holds(&["a=2"]),
        ),
        (
            "a file, linked before it was replaced",
            tar()
                .file("a", "1")
                .link("h", b'1', "a")
                .file("a", "2")
                .end(),
            Holds(&["a=2", "h=1"]),
        ),
        (
            "a directory that becomes a file",
            tar().file("d/x", "1").file("d", "2").end(),
            Holds(&["d=2"]),
        ),
        (
            "a file that becomes a directory",
            tar().file("d", "1").dir("d").file("d/x", "2").end(),
            Holds(&["d/", "d/x=2"]),
        ),
        (
            "members behind the end",
            [tar().file("a", "1").end(), tar().file("b", "2").end()].concat(),
            Holds(&["a=1"]),
        ),
    ]);
}

#[test]
fn numbers_that_lie_are_refused() {
    let file = Head::new("f", b'0');
    let negative = forged(&file, 124, &[0xff; 12]);
    let huge = forged(&file, 124, b"77777777777\0");
    check(vec![
        ("negative size", negative.end(), Refused("negative")),
        (
            "a size of 8 GiB and no bytes",
            huge.end(),
            Refused("cut short"),
        ),
        (
            "a size of 17 GiB",
            forged(&file, 124, &[0x80, 0, 0, 0, 0, 0, 0, 4, 0x40, 0, 0, 0]).end(),
            Refused("at most"),
        ),
        (
            "no number",
            forged(&file, 124, b"0x10\0").end(),
            Refused("0x10"),
        ),
        (
            "negative size in pax",
            tar().pax(&[("size", b"-1")]).file("f", "x").end(),
            Refused("\"-1\""),
        ),
    ]);
}

#[test]
fn headers_that_lie_are_refused() {
    let mut broken = tar().file("f", "x").end();
    broken[0] ^= 1;
    let huge_pax = tar().head(&Head {
        size: 1 << 30,
        ..Head::new("p", b'x')
    });
    let huge_name = tar().head(&Head {
        size: 1 << 30,
        ..Head::new("n", b'L')
    });
    let cut = tar().file("f", [b'x'; 2000]).end();
    check(vec![
        ("checksum", broken, Refused("checksum")),
        ("a pax header of 1 GiB", huge_pax.end(), Refused("extended")),
        ("a name of 1 GiB", huge_name.end(), Refused("extended")),
        (
            "two pax headers",
            tar()
                .pax(&[("path", b"a")])
                .pax(&[("path", b"b")])
                .file("f", "x")
                .end(),
            Refused("two extended"),
        ),
        (
            "a pax record that is none",
            tar().data(Head::new("p", b'x'), b"99 path=x\n").end(),
            Refused("damaged"),
        ),
        (
            "a pax header before nothing",
            tar().pax(&[("path", b"a")]).end(),
            Refused("behind an extended header"),
        ),
        (
            "a global header that renames everything",
            tar()
                .data(Head::new("g", b'g'), b"10 path=x\n")
                .file("f", "x")
                .end(),
            Refused("global"),
        ),
        (
            "a global comment",
            tar()
                .data(Head::new("g", b'g'), b"13 comment=x\n")
                .file("f", "x")
                .end(),
            Holds(&["f=x"]),
        ),
        (
            "a lone block of zeros",
            tar().raw(&[0; 512]).file("f", "x").end(),
            Refused("lone block"),
        ),
        (
            "cut short in a file",
            cut[..1024].to_vec(),
            Refused("cut short"),
        ),
        (
            "cut short in a header",
            cut[..300].to_vec(),
            Refused("cut short"),
        ),
        ("random bytes", vec![7; 4096], Refused("where a number")),
    ]);
}

#[test]
fn sparse_files_that_lie_are_refused() {
    let sparse = |map: &[u8], size: &[u8], data: &[u8]| {
        tar()
            .pax(&[
                ("GNU.sparse.major", b"0"),
                ("GNU.sparse.minor", b"1"),
                ("GNU.sparse.name", b"s"),
                ("GNU.sparse.size", size),
                ("GNU.sparse.map", map),
            ])
            .file("x", data)
            .end()
    };
    check(vec![
        (
            "good",
            sparse(b"2,1,5,0", b"5", b"x"),
            Holds(&["s=\0\0x\0\0"]),
        ),
        (
            "overlap",
            sparse(b"0,2,1,2", b"9", b"xxxx"),
            Refused("overlap"),
        ),
        ("out", sparse(b"9,1", b"5", b"x"), Refused("outside")),
        ("half", sparse(b"1", b"5", b"x"), Refused("pairs")),
        ("short", sparse(b"0,4", b"5", b"x"), Refused("4 bytes")),
        (
            "17 GiB of holes",
            sparse(b"0,1", b"18253611008", b"x"),
            Refused("at most"),
        ),
        (
            "8 GiB of holes",
            sparse(b"0,1", b"8589934592", b"x"),
            Refused("fill disks"),
        ),
        (
            "no form",
            tar()
                .pax(&[("GNU.sparse.major", b"7")])
                .file("x", "x")
                .end(),
            Refused("sparse"),
        ),
    ]);
}

#[test]
fn attributes_are_kept_where_files_of_the_store_have_them() {
    let mut capability = vec![1, 0, 0, 2];
    capability.resize(20, 0);
    let layer = tar()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.a", b"b"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .file("f", "x")
        .pax(&[("SCHILY.xattr.security.capability", b"nonsense")])
        .file("g", "x")
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .dir("d")
        .end();
    let (imported, _) = layers(&[layer]).expect("only notes");
    let names = |path: &[u8]| {
        let entry = imported.tree.get(path).expect("there");
        entry.xattrs.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        names(b"f"),
        [b"security.capability".to_vec(), b"user.a".to_vec()]
    );
    assert!(names(b"g").is_empty() && names(b"d").is_empty());
    let opaque = &imported.tree.get(b"d").expect("there").kind;
    assert_eq!(*opaque, Kind::Dir { opaque: false });
    assert_eq!(imported.notes.len(), 5, "{:?}", imported.notes);
    let many: Vec<(String, Vec<u8>)> = (0..100)
        .map(|at| (format!("SCHILY.xattr.user.{at}"), Vec::new()))
        .collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(k, v)| (k.as_str(), &v[..])).collect();
    check(vec![(
        "a hundred attributes",
        tar().pax(&many).file("f", "x").end(),
        Refused("attributes"),
    )]);
}

use super::*;
use crate::{
    action::CopyFrom,
    ids::{BlobId, TreeId},
};

fn file(path: &str, text: &str) -> Entry {
    let blob = BlobId::of(text.as_bytes());
    Entry::file(path.as_bytes(), 0o644, blob, text.len() as u64)
}

fn dir(path: &str) -> Entry {
    Entry::dir(path.as_bytes(), 0o700)
}

fn link(path: &str, target: &str) -> Entry {
    Entry::symlink(path.as_bytes(), target.as_bytes())
}

fn gone(path: &str) -> Entry {
    Entry {
        kind: Kind::Whiteout,
        ..Entry::dir(path.as_bytes(), 0)
    }
}

fn opaque(path: &str) -> Entry {
    Entry {
        kind: Kind::Dir { opaque: true },
        ..dir(path)
    }
}

fn tree(entries: &[Entry]) -> Tree {
    Tree::new(entries.to_vec()).unwrap()
}

fn sample() -> Tree {
    let mut tool = file("bin/tool", "tool");
    tool.mode = 0o4711;
    tool.uid = 7;
    tool.xattrs.insert(b"user.a".to_vec(), b"b".to_vec());
    tree(&[
        dir("bin"),
        tool,
        dir("src"),
        file("src/a.ml", "a"),
        dir("src/.git"),
        file("src/.git/HEAD", "ref"),
        link("src/self", "."),
        file("src.ml", "between src and src/a.ml"),
        link("lib", "usr/lib"),
        dir("usr"),
        dir("usr/lib"),
        file("usr/lib/a.ml", "another"),
    ])
}

fn wish(src: &[&str], dst: CopyTo) -> Copy {
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Copy {
        from: CopyFrom::Tree(TreeId::from(BlobId::of(b"any"))),
        src: texts(src),
        dst,
        exclude: vec![".git".to_owned()],
        user: (1000, 100),
    }
}

fn into(path: &str) -> CopyTo {
    CopyTo::Into(path.to_owned())
}

fn to(path: &str) -> CopyTo {
    CopyTo::As(path.to_owned())
}

fn copied(src: &[&str], dst: CopyTo) -> Result<Tree, CopyError> {
    let from = sample();
    layer(&View::new([&from]), &wish(src, dst))
}

/// `path mode kind` of each entry but the root, which is always the same.
fn listed(tree: &Tree) -> Vec<String> {
    let line = |entry: &Entry| {
        let kind = match &entry.kind {
            Kind::Dir { .. } => "/".to_owned(),
            Kind::File { .. } => String::new(),
            Kind::Symlink { target } => format!(" -> {}", lossy(target)),
            Kind::Whiteout => " gone".to_owned(),
        };
        assert_eq!((entry.uid, entry.gid), (1000, 100));
        assert!(entry.xattrs.is_empty());
        format!("{:o} {}{kind}", entry.mode, lossy(&entry.path))
    };
    tree.entries()[1..].iter().map(line).collect()
}

#[test]
fn modes_and_owners_are_those_of_every_copy() {
    let tree = copied(&["bin/tool", "src.ml"], into("/opt//./x/")).unwrap();
    let want = [
        "755 opt/",
        "755 opt/x/",
        "644 opt/x/src.ml",
        "755 opt/x/tool",
    ];
    assert_eq!(listed(&tree), want);
    assert_eq!((tree.entries()[0].uid, tree.entries()[0].mode), (0, 0o755));
}

#[test]
fn a_directory_goes_into_or_becomes_its_destination() {
    let below = |top: &str| {
        let names = ["a.ml", "self -> ."];
        let modes = ["644", "777"];
        let lines = modes.iter().zip(names);
        lines
            .map(|(mode, name)| format!("{mode} {top}/{name}"))
            .collect::<Vec<_>>()
    };
    let tree = copied(&["src"], into("/d/")).unwrap();
    let want = [vec!["755 d/".into(), "755 d/src/".into()], below("d/src")].concat();
    assert_eq!(listed(&tree), want);
    let tree = copied(&["./src/"], to("/d")).unwrap();
    assert_eq!(listed(&tree), [vec!["755 d/".into()], below("d")].concat());
}

#[test]
fn a_dot_is_the_content_of_everything() {
    for dst in [to("/"), into("/"), to("/.")] {
        let tree = copied(&["."], dst).unwrap();
        let names: Vec<String> = listed(&tree);
        assert_eq!(names[0], "755 bin/");
        assert!(names.contains(&"644 src/a.ml".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name.contains(".git")), "{names:?}");
    }
    let (a, b) = (
        copied(&["."], to("/d")),
        copied(&[".", "", "."], into("/d/")),
    );
    assert_eq!(a, b);
}

#[test]
fn a_name_that_is_left_out_can_still_be_asked_for() {
    let tree = copied(&["src/.git"], into("/")).unwrap();
    assert_eq!(listed(&tree), ["755 .git/", "644 .git/HEAD"]);
}

#[test]
fn a_link_is_copied_and_never_followed() {
    let tree = copied(&["lib"], to("/l")).unwrap();
    assert_eq!(listed(&tree), ["777 l -> usr/lib"]);
    let refused = copied(&["lib/a.ml"], to("/l")).unwrap_err().to_string();
    assert!(
        refused.contains("\"lib\"") && refused.contains("not followed"),
        "{refused}"
    );
}

#[test]
fn what_cannot_be_copied_is_named() {
    let missing = |path: &str| CopyError::Missing {
        path: path.to_owned(),
    };
    assert_eq!(
        copied(&["src.ml", "nowhere"], into("/")),
        Err(missing("nowhere"))
    );
    assert_eq!(copied(&["src/x/y"], into("/")), Err(missing("src/x/y")));
    let refused = copied(&["src.ml/x"], into("/")).unwrap_err().to_string();
    assert!(refused.contains("\"src.ml\" is a file"), "{refused}");
    let root = CopyError::Root {
        path: "src.ml".to_owned(),
    };
    assert_eq!(copied(&["src.ml"], to("/")), Err(root));
    let up = CopyError::Up {
        path: "src/../x".to_owned(),
    };
    assert_eq!(copied(&["src/../x"], into("/")), Err(up));
    let long = copied(&["src.ml"], to(&format!("/{}", "n".repeat(256)))).unwrap_err();
    assert!(
        matches!(long, CopyError::Tree(TreeError::Path { .. })),
        "{long}"
    );
}

#[test]
fn two_files_of_one_name_are_refused_unless_they_are_equal() {
    let refused = copied(&["src/a.ml", "usr/lib/a.ml"], into("/d/")).unwrap_err();
    assert!(
        matches!(&refused, CopyError::Twice { place, .. } if place == "d/a.ml"),
        "{refused}"
    );
    assert!(copied(&["src/a.ml", "src//a.ml"], into("/d/")).is_ok());
    assert!(copied(&[".", "src"], into("/d/")).is_ok());
}

#[test]
fn upper_layers_hide_what_an_overlay_would_hide() {
    let bottom = tree(&[
        dir("d"),
        file("d.x", "sorts between"),
        dir("d/sub"),
        file("d/sub/deep", "1"),
        file("d/kept", "1"),
        dir("e"),
        file("e/old", "1"),
        file("f", "1"),
    ]);
    let middle = tree(&[
        gone("d"),
        opaque("e"),
        file("e/new", "2"),
        dir("f"),
        file("f/in", "2"),
    ]);
    let top = tree(&[
        dir("d"),
        dir("d/sub"),
        file("d/sub/again", "3"),
        dir("e"),
        gone("e/new"),
    ]);
    let view = View::new([&bottom, &middle, &top]);
    let below = |path: &str| -> Vec<String> {
        view.below(path.as_bytes()).into_keys().map(lossy).collect()
    };
    let want = ["d", "d.x", "d/sub", "d/sub/again", "e", "f", "f/in"];
    assert_eq!(below(""), want);
    assert_eq!(below("d/sub"), ["d/sub/again"]);
    assert_eq!(below("e"), [""; 0]);
    assert!(view.get(b"d/kept").is_none() && view.get(b"d/sub/deep").is_none());
    assert!(view.get(b"e/old").is_none() && view.get(b"e/new").is_none());
    assert!(matches!(view.get(b"f").unwrap().kind, Kind::Dir { .. }));
    // An overlay does not heed the mark on the root of a layer.
    let marked = tree(&[opaque(""), file("g", "4")]);
    assert!(View::new([&bottom, &marked]).get(b"f").is_some());
    assert_eq!(View::new([&bottom, &marked]).below(b"").len(), 9);
    let all = layer(&view, &wish(&["."], to("/"))).unwrap();
    assert_eq!(all.entries().len(), want.len() + 1);
    assert!(
        all.entries()
            .iter()
            .all(|entry| entry.kind != Kind::Dir { opaque: true })
    );
}

#[test]
fn what_a_layer_of_its_own_removes_is_not_there() {
    let from = tree(&[gone("x"), file("y", "1")]);
    let view = View::new([&from]);
    let missing = CopyError::Missing {
        path: "x".to_owned(),
    };
    assert_eq!(layer(&view, &wish(&["x"], into("/"))), Err(missing));
    let all = layer(&view, &wish(&["."], into("/"))).unwrap();
    assert_eq!(listed(&all), ["644 y"]);
}

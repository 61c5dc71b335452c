//! Other programs read what we write, and we read what they write.

use std::{fs, path::Path, process::Command};

use caravan_image::{Compression, Export, Unobserved, export};
use caravan_protocol::tree::Tree;

use crate::kit::{Blobs, amd64, program, sample, take};

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let done = Command::new(program)
        .args(args)
        .output()
        .expect("it starts");
    assert!(
        done.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn write(trees: &[Tree], blobs: &Blobs, to: &Path, compression: Compression) -> String {
    let platform = amd64();
    let wanted = Export {
        layers: trees,
        platform: &platform,
        env: &[("A".to_owned(), "b".to_owned())],
        tag: "v1",
        compression,
    };
    let exported = export(&wanted, blobs, to, &mut Unobserved).expect("good");
    exported.manifest.to_string()
}

#[test]
fn skopeo_reads_and_copies_our_layouts() {
    let Some(skopeo) = program("skopeo") else {
        return;
    };
    let mut blobs = Blobs::default();
    let tree = sample(&mut blobs);
    let dir = tempfile::tempdir().expect("writable");
    let at = |name: &str| dir.path().join(name).display().to_string();
    for (name, compression) in [("gz", Compression::Gzip), ("zst", Compression::Zstd)] {
        let to = dir.path().join(name);
        let digest = write(std::slice::from_ref(&tree), &blobs, &to, compression);
        let source = format!("oci:{}:v1", at(name));
        let told: serde_json::Value =
            serde_json::from_str(&run(skopeo, &["inspect", &source])).expect("JSON");
        assert_eq!(told["Digest"], digest.as_str());
        assert_eq!(told["Env"][0], "A=b");
        let copy = at(&format!("{name}-copy"));
        run(
            skopeo,
            &[
                "copy",
                "--preserve-digests",
                &source,
                &format!("oci:{copy}:v2"),
            ],
        );
        let (imported, _) = take(&format!("oci:{copy}:v2")).expect("a copy of ours");
        assert_eq!(imported.tree, tree);
        let archive = at(&format!("{name}.tar"));
        run(
            skopeo,
            &["copy", &source, &format!("oci-archive:{archive}:v3")],
        );
        let (imported, _) = take(&archive).expect("a copy of ours");
        assert_eq!(imported.tree, tree);
    }
    let ours = at("ours.tar");
    write(
        std::slice::from_ref(&tree),
        &blobs,
        Path::new(&ours),
        Compression::Gzip,
    );
    run(skopeo, &["inspect", &format!("oci-archive:{ours}:v1")]);
    // As Docker has them.
    let docker = at("docker");
    run(
        skopeo,
        &[
            "copy",
            "--format",
            "v2s2",
            &format!("oci:{}:v1", at("gz")),
            &format!("dir:{docker}"),
        ],
    );
    let back = at("back");
    run(
        skopeo,
        &["copy", &format!("dir:{docker}"), &format!("oci:{back}:v1")],
    );
    assert_eq!(take(&back).expect("ours").0.tree, tree);
}

#[test]
fn umoci_unpacks_our_layers_and_we_its() {
    let Some(umoci) = program("umoci") else {
        return;
    };
    let mut blobs = Blobs::default();
    let lower = sample(&mut blobs);
    let blob = blobs.add(b"upper");
    let upper = {
        use caravan_protocol::tree::{Entry, Kind};
        let gone = |path: &[u8]| Entry {
            kind: Kind::Whiteout,
            ..Entry::dir(path, 0)
        };
        let opaque = |path: &[u8]| Entry {
            kind: Kind::Dir { opaque: true },
            ..Entry::dir(path, 0o755)
        };
        Tree::new(vec![
            opaque(b"home"),
            Entry::file(b"home/new", 0o640, blob, 5),
            Entry::dir(b"usr", 0o755),
            gone(b"usr/long"),
            Entry::dir(b"usr/bin", 0o750),
            gone(b"usr/bin/sh"),
            Entry::file(b"usr/bin/ls", 0o755, blob, 5),
        ])
        .expect("good")
    };
    let dir = tempfile::tempdir().expect("writable");
    let layout = dir.path().join("o");
    write(&[lower, upper], &blobs, &layout, Compression::Gzip);
    let image = format!("{}:v1", layout.display());
    let bundle = dir.path().join("bundle");
    run(
        umoci,
        &["unpack", "--image", &image, bundle.to_str().expect("text")],
    );
    let (ours, _) = take(&layout.display().to_string()).expect("ours");
    let rootfs = bundle.join("rootfs");
    let (theirs, _) = take(rootfs.to_str().expect("text")).expect("a directory");
    assert_eq!(theirs.tree, ours.tree, "umoci sees other files than we do");
    assert!(ours.tree.get(b"home/a file").is_none() && ours.tree.get(b"home/new").is_some());
    // Its own layers: what it makes of changes.
    fs::remove_file(rootfs.join("usr/bin/ls")).expect("there");
    fs::create_dir(rootfs.join("srv")).expect("writable");
    fs::write(rootfs.join("srv/x"), "x").expect("writable");
    fs::hard_link(rootfs.join("srv/x"), rootfs.join("srv/y")).expect("writable");
    run(
        umoci,
        &[
            "repack",
            "--image",
            &format!("{}:v2", layout.display()),
            bundle.to_str().expect("text"),
        ],
    );
    let (again, _) = take(&format!("oci:{}:v2", layout.display())).expect("umoci's");
    let (theirs, _) = take(rootfs.to_str().expect("text")).expect("a directory");
    assert_eq!(again.tree, theirs.tree);
    // Two images without a name given.
    let error = take(&layout.display().to_string()).expect_err("two");
    assert!(error.to_string().contains("v1, v2"), "{error}");
}

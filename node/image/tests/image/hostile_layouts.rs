//! Layouts and archives of them that lie about digests, sizes and kinds, and bombs.

use std::{fs, io::Write};

use caravan_image::{Digest, Options, Source, Unobserved, import};
use serde_json::{Value, json};

use crate::kit::{
    CONFIG, GZIP, Head, INDEX, Layout, MANIFEST, Nowhere, PLAIN, Tar, ZSTD, amd64, chain, gzip,
    listing, take,
};

fn good() -> Vec<u8> {
    Tar::default().file("f", "x").end()
}

fn refused(layout: &Layout, word: &str) {
    match take(&layout.text()) {
        Ok((imported, blobs)) => panic!("wanted {word:?}: {:?}", listing(&imported, &blobs)),
        Err(error) => assert!(chain(&error).contains(word), "{word:?}: {}", chain(&error)),
    }
}

/// A layout whose one layer's descriptor is changed.
fn layer_with(bytes: &[u8], diff_id: &Digest, change: impl Fn(&mut Value)) -> Layout {
    let layout = Layout::new();
    let mut layer = layout.descriptor(GZIP, bytes);
    change(&mut layer);
    let manifest = layout.manifest(&layout.config(std::slice::from_ref(diff_id)), &[layer]);
    layout.index(&[manifest]);
    layout
}

#[test]
fn every_byte_is_checked_against_its_digest_and_size() {
    let (tar, packed) = (good(), gzip(&good()));
    let diff_id = Digest::of(&tar);
    let other = Digest::of(b"something else");
    assert!(take(&layer_with(&packed, &diff_id, |_| {}).text()).is_ok());

    // Other bytes under a good name: a whole archive, so that only the digest can tell.
    let layout = layer_with(&packed, &diff_id, |_| {});
    let forged = gzip(&Tar::default().file("f", "y").end());
    assert_eq!(forged.len(), packed.len());
    fs::write(layout.path().join(Digest::of(&packed).path()), forged).expect("writable");
    refused(&layout, "want sha256:");

    refused(
        &layer_with(&packed, &other, |_| {}),
        &format!("want {other}"),
    );
    refused(
        &layer_with(&packed, &diff_id, |layer| {
            layer["size"] = json!(packed.len() + 1)
        }),
        "the size of layer 1",
    );
    refused(
        &layer_with(&packed, &diff_id, |layer| {
            layer["size"] = json!(packed.len() - 1)
        }),
        "layer 1",
    );
    refused(
        &layer_with(&packed, &diff_id, |layer| layer["size"] = json!(-1)),
        "-1",
    );
    refused(
        &layer_with(&packed, &diff_id, |layer| layer["size"] = json!(1u64 << 40)),
        "more than",
    );
    refused(
        &layer_with(&packed, &diff_id, |layer| {
            layer["digest"] = json!("sha256:../../../../etc/passwd");
        }),
        "digest",
    );
    refused(
        &layer_with(&packed, &diff_id, |layer| {
            layer["digest"] = json!("md5:d41d8cd98f00b204e9800998ecf8427e");
        }),
        "digest",
    );
    refused(
        &layer_with(&packed, &diff_id, |layer| layer["digest"] = json!(other)),
        "open blobs/",
    );
}

#[test]
fn what_is_packed_otherwise_than_said_is_refused() {
    let tar = good();
    let diff_id = Digest::of(&tar);
    let packed = gzip(&tar);
    for (media_type, word) in [
        (ZSTD, "layer 1"),
        (PLAIN, "layer 1"),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "encrypted",
        ),
        ("application/vnd.wasm.content.layer.v1+wasm", "wasm"),
        ("", "media type"),
    ] {
        refused(
            &layer_with(&packed, &diff_id, |layer| {
                layer["mediaType"] = json!(media_type)
            }),
            word,
        );
    }
    // Rubbish behind the stream, cut streams, two streams.
    let rubbish = [packed.as_slice(), b"rubbish"].concat();
    refused(&layer_with(&rubbish, &diff_id, |_| {}), "layer 1");
    refused(
        &layer_with(&packed[..packed.len() - 6], &diff_id, |_| {}),
        "layer 1",
    );
    let two = [gzip(&tar[..700]), gzip(&tar[700..])].concat();
    let (imported, blobs) = take(&layer_with(&two, &diff_id, |_| {}).text()).expect("allowed");
    assert_eq!(listing(&imported, &blobs), ["f=x"]);
}

#[test]
fn documents_that_are_not_what_they_say_are_refused() {
    let tar = good();
    let image = |change: &dyn Fn(&Layout, &mut Value)| {
        let layout = Layout::new();
        let layer = layout.descriptor(GZIP, &gzip(&tar));
        let config = layout.config(&[Digest::of(&tar)]);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        change(&layout, &mut manifest);
        let descriptor = layout.document(MANIFEST, &manifest);
        layout.index(&[descriptor]);
        layout
    };
    assert!(take(&image(&|_, _| {}).text()).is_ok());
    refused(&image(&|_, m| m["schemaVersion"] = json!(1)), "first kind");
    refused(
        &image(&|_, m| m["schemaVersion"] = json!("2")),
        "invalid type",
    );
    refused(
        &image(&|_, m| m["mediaType"] = json!(INDEX)),
        "calls itself",
    );
    refused(&image(&|_, m| m["manifests"] = json!([])), "both");
    refused(&image(&|_, m| m["config"]["size"] = json!(-5)), "-5");
    refused(
        &image(&|_, m| {
            m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")
        }),
        "helm",
    );
    refused(&image(&|_, m| m["layers"] = json!([])), "unpacked layers");
    refused(
        &image(&|_, m| m["layers"] = vec![m["layers"][0].clone(); 600].into()),
        "512 layers",
    );
    let config = |value: Value| {
        image(&move |layout: &Layout, m: &mut Value| {
            m["config"] = layout.document(CONFIG, &value);
        })
    };
    let diff_ids = json!([Digest::of(&tar)]);
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    refused(&config(json!({"os": "linux"})), "missing field");
    refused(
        &config(json!({"os": "linux", "architecture": "amd64",
            "rootfs": {"type": "bricks", "diff_ids": diff_ids}})),
        "bricks",
    );
    refused(
        &config(
            json!({"os": "linux", "architecture": "amd64", "rootfs": rootfs,
            "config": {"Env": vec!["A=b"; 2000]}}),
        ),
        "1024 variables",
    );
    refused(
        &config(json!({"os": "linux", "architecture": "arm64", "rootfs": rootfs})),
        "there is linux/arm64",
    );
    refused(
        &config(json!({"os": "../..", "architecture": "amd64", "rootfs": rootfs})),
        "find an image",
    );
}

#[test]
fn indexes_in_circles_and_too_deep_end() {
    let layout = Layout::new();
    let mut inner = layout.document(INDEX, &json!({"schemaVersion": 2, "manifests": []}));
    for _ in 0..20 {
        inner = layout.document(INDEX, &json!({"schemaVersion": 2, "manifests": [inner]}));
    }
    layout.index(&[inner]);
    refused(&layout, "nested");

    // An index that names itself can only lie about its digest.
    let layout = Layout::new();
    let digest = Digest::of(b"me");
    let own = json!({"mediaType": INDEX, "digest": digest, "size": 400});
    let mut text = json!({"schemaVersion": 2, "manifests": [own]}).to_string();
    text.extend(std::iter::repeat_n(' ', 400 - text.len()));
    fs::write(layout.path().join(digest.path()), text).expect("writable");
    layout.index(&[own]);
    refused(&layout, "want sha256:");

    // Many small indexes, none of which leads to an image.
    let layout = Layout::new();
    let leaf = |at: usize| {
        let index =
            json!({"schemaVersion": 2, "manifests": [], "annotations": {"n": at.to_string()}});
        layout.document(INDEX, &index)
    };
    let leaves: Vec<Value> = (0..200).map(leaf).collect();
    layout.index(&leaves);
    refused(&layout, "64 documents");

    let layout = Layout::new();
    let entry = layout.document(INDEX, &json!({"schemaVersion": 2, "manifests": []}));
    layout.index(&vec![entry; 2000]);
    refused(&layout, "1024 images");
    layout.index(&[]);
    refused(&layout, "no image");
}

#[test]
fn huge_and_broken_documents_are_refused() {
    let layout = Layout::of(&[good()]);
    let path = layout.path().join("index.json");
    let index = fs::read_to_string(&path).expect("there");
    fs::write(&path, index.clone() + &" ".repeat(5 << 20)).expect("writable");
    refused(&layout, "4194304 bytes");
    for (text, word) in [
        (
            format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
            "index.json",
        ),
        (
            index.replace(
                "\"schemaVersion\":2",
                "\"schemaVersion\":2,\"schemaVersion\":2",
            ),
            "duplicate",
        ),
        ("\u{feff}{}".to_owned(), "index.json"),
        (String::new(), "index.json"),
    ] {
        fs::write(&path, text).expect("writable");
        refused(&layout, word);
    }
    fs::write(&path, index).expect("writable");
    fs::write(
        layout.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .expect("writable");
    refused(&layout, "2.0.0");
    // A huge manifest by its descriptor, and one that is larger than its descriptor says.
    let layout = Layout::new();
    let digest = layout.blob(&vec![b' '; 5 << 20]);
    layout.index(&[json!({"mediaType": MANIFEST, "digest": digest, "size": 5 << 20})]);
    refused(&layout, "4194304 bytes");
    layout.index(&[json!({"mediaType": MANIFEST, "digest": digest, "size": 10})]);
    refused(&layout, "more");
}

#[test]
fn files_of_a_layout_that_are_no_files_are_not_opened() {
    let layout = Layout::of(&[good()]);
    let packed = gzip(&good());
    let blob = layout.path().join(Digest::of(&packed).path());
    let elsewhere = layout.path().join("elsewhere");
    fs::rename(&blob, &elsewhere).expect("there");
    std::os::unix::fs::symlink(&elsewhere, &blob).expect("writable");
    refused(&layout, "open blobs/");
    fs::remove_file(&blob).expect("there");
    let made = std::process::Command::new("mkfifo").arg(&blob).status();
    assert!(made.expect("mkfifo").success());
    refused(&layout, "no regular file");
}

#[test]
fn bombs_are_stopped_early() {
    let zeros = |megabytes: usize| {
        let head = Head {
            size: (megabytes as u64) << 20,
            ..Head::new("zeros", b'0')
        };
        let mut tar = Tar::default().head(&head).0;
        tar.resize(512 + (megabytes << 20), 0);
        tar.resize(tar.len() + 1024, 0);
        tar
    };
    let bomb = |media_type: &str, packed: &[u8], tar: &[u8]| {
        let layout = Layout::new();
        let layer = layout.descriptor(media_type, packed);
        let manifest = layout.manifest(&layout.config(&[Digest::of(tar)]), &[layer]);
        layout.index(&[manifest]);
        let mut sink = Nowhere::default();
        let source: Source = layout.text().parse().expect("a path");
        let taken = import(&source, &Options::of(amd64()), &mut sink, &mut Unobserved);
        (taken, sink.bytes)
    };
    // A gzip bomb is never much better than 1000 to 1; at 100 MiB it is one.
    let tar = zeros(100);
    let mut best = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    best.write_all(&tar).expect("memory");
    let packed = best.finish().expect("memory");
    assert!(packed.len() * 900 < tar.len(), "{}", packed.len());
    for (media_type, packed) in [
        (GZIP, packed),
        (ZSTD, zstd::encode_all(&tar[..], 19).expect("memory")),
    ] {
        let (taken, bytes) = bomb(media_type, &packed, &tar);
        let error = taken.expect_err("a bomb");
        assert!(chain(&error).contains("fill disks"), "{}", chain(&error));
        assert_eq!(bytes, 0, "{media_type}: a file of it was finished");
    }
    // A small layer of zeros is none.
    let tar = zeros(1);
    let (taken, bytes) = bomb(GZIP, &gzip(&tar), &tar);
    let taken = taken.expect("no bomb");
    assert!(taken.tree.size() > 0 && bytes >= taken.tree.size());
    // A window that would take 2 GiB of memory.
    let mut wide = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    wide.window_log(30).expect("allowed");
    wide.write_all(&tar).expect("memory");
    let (taken, _) = bomb(ZSTD, &wide.finish().expect("memory"), &tar);
    assert!(chain(&taken.expect_err("too wide")).contains("layer 1"));
    // Many members without content.
    let mut many = Tar::default();
    for _ in 0..200_000 {
        many = many.head(&Head::new("f", b'0'));
    }
    let many = many.end();
    let packed = zstd::encode_all(&many[..], 19).expect("memory");
    let (taken, _) = bomb(ZSTD, &packed, &many);
    assert!(chain(&taken.expect_err("a bomb")).contains("fill disks"));
}

#[test]
fn names_that_take_memory_are_bounded() {
    // Each of these names implies two thousand directories with names of their own.
    let mut tar = Tar::default();
    for at in 0..400 {
        let deep = format!("{at}/") + &"d/".repeat(2000) + "f";
        tar = tar.pax(&[("path", deep.as_bytes())]).file("x", "");
    }
    let error = crate::kit::layers(&[tar.end()]).expect_err("too much");
    assert!(
        chain(&error).contains("too long together"),
        "{}",
        chain(&error)
    );
}

#[test]
fn an_archive_of_a_layout_with_two_indexes_is_refused() {
    let layout = Layout::of(&[good()]);
    let read = |name: &str| fs::read(layout.path().join(name)).expect("there");
    let mut tar = Tar::default()
        .file("oci-layout", read("oci-layout"))
        .file("./index.json", read("index.json"));
    for blob in fs::read_dir(layout.path().join("blobs/sha256")).expect("there") {
        let name = blob.expect("there").file_name().display().to_string();
        let name = format!("blobs/sha256/{name}");
        tar = tar.file(&name, read(&name));
    }
    let file = layout.path().join("whole.tar");
    fs::write(&file, tar.clone().end()).expect("writable");
    let (imported, blobs) = take(&file.display().to_string()).expect("good");
    assert_eq!(listing(&imported, &blobs), ["f=x"]);
    let twice = tar.clone().file("index.json", read("index.json")).end();
    fs::write(&file, twice).expect("writable");
    let error = take(&file.display().to_string()).expect_err("two of them");
    assert!(chain(&error).contains("twice"), "{}", chain(&error));
    let whole = tar.end();
    fs::write(&file, &whole[..whole.len() - 3000]).expect("writable");
    assert!(
        take(&file.display().to_string()).is_err(),
        "it is cut short"
    );
    fs::write(layout.path().join("l.tar.gz"), gzip(&whole)).expect("writable");
    let error = take(&layout.path().join("l.tar.gz").display().to_string()).expect_err("packed");
    assert!(
        chain(&error).contains("uncompress it first"),
        "{}",
        chain(&error)
    );
}

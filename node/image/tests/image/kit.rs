//! What the tests make images from: tar members by hand, layouts by hand, contents in memory.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::Path,
};

use caravan_image::{
    Cause, Contents, Digest, ImageError, Imported, Options, Sink, Source, Unobserved, import,
};
use caravan_protocol::{
    ids::BlobId,
    platform::Platform,
    tree::{Entry, Kind, Tree},
};
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub(crate) const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// Contents in memory.
#[derive(Debug, Default)]
pub(crate) struct Blobs(pub(crate) BTreeMap<BlobId, Vec<u8>>);

impl Blobs {
    pub(crate) fn add(&mut self, bytes: &[u8]) -> BlobId {
        let blob = BlobId::of(bytes);
        self.0.insert(blob, bytes.to_vec());
        blob
    }
}

impl Sink for Blobs {
    fn put(&mut self, reader: &mut dyn Read, max: u64) -> Result<(BlobId, u64), Cause> {
        let mut bytes = Vec::new();
        reader.take(max + 1).read_to_end(&mut bytes)?;
        assert!(bytes.len() as u64 <= max, "more came than was announced");
        Ok((self.add(&bytes), bytes.len() as u64))
    }
}

impl Contents for Blobs {
    fn open(&self, blob: BlobId) -> Result<Box<dyn Read + '_>, Cause> {
        let bytes = self.0.get(&blob).ok_or("there is no such blob")?;
        Ok(Box::new(bytes.as_slice()))
    }
}

/// Keeps names of contents and no contents, for what is large.
#[derive(Debug, Default)]
pub(crate) struct Nowhere {
    pub(crate) bytes: u64,
}

impl Sink for Nowhere {
    fn put(&mut self, reader: &mut dyn Read, _max: u64) -> Result<(BlobId, u64), Cause> {
        let size = std::io::copy(reader, &mut std::io::sink())?;
        self.bytes += size;
        Ok((BlobId::of(&size.to_le_bytes()), size))
    }
}

pub(crate) fn amd64() -> Platform {
    "linux-x86_64".parse().expect("good")
}

/// Imports from a path or reference.
pub(crate) fn take(source: &str) -> Result<(Imported, Blobs), ImageError> {
    let mut blobs = Blobs::default();
    let source: Source = source.parse()?;
    let imported = import(&source, &Options::of(amd64()), &mut blobs, &mut Unobserved)?;
    Ok((imported, blobs))
}

/// The words of an error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Paths of a tree with a letter for their kind and the content of small files.
pub(crate) fn listing(imported: &Imported, blobs: &Blobs) -> Vec<String> {
    let line = |entry: &Entry| {
        let path = String::from_utf8_lossy(&entry.path);
        match &entry.kind {
            Kind::Dir { .. } => format!("{path}/"),
            Kind::File { blob, .. } => {
                format!("{path}={}", String::from_utf8_lossy(&blobs.0[blob]))
            }
            Kind::Symlink { target } => format!("{path}>{}", String::from_utf8_lossy(target)),
            Kind::Whiteout => format!("{path} is whited out"),
        }
    };
    imported.tree.entries().iter().skip(1).map(line).collect()
}

/// A tar archive made by hand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// One header that may be as odd as wanted.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) path: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) magic: [u8; 8],
}

impl Head {
    pub(crate) fn new(path: impl AsRef<[u8]>, flag: u8) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            flag,
            link: Vec::new(),
            size: 0,
            mode: 0o644,
            uid: 0,
            magic: *b"ustar\x0000",
        }
    }

    pub(crate) fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, b"0000000");
        put(124, format!("{:011o}", self.size).as_bytes());
        put(136, b"00000000000");
        put(156, &[self.flag]);
        put(157, &self.link);
        put(257, &self.magic);
        sum(&mut block);
        block
    }
}

/// Sets the checksum of a header.
pub(crate) fn sum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tar {
    pub(crate) fn head(mut self, head: &Head) -> Self {
        self.0.extend_from_slice(&head.block());
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn data(mut self, head: Head, bytes: &[u8]) -> Self {
        let head = Head {
            size: bytes.len() as u64,
            ..head
        };
        self = self.head(&head).raw(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Self {
        self.data(Head::new(path, b'0'), bytes.as_ref())
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.head(&Head {
            mode: 0o755,
            ..Head::new(path, b'5')
        })
    }

    pub(crate) fn link(self, path: &str, flag: u8, target: impl AsRef<[u8]>) -> Self {
        self.head(&Head {
            link: target.as_ref().to_vec(),
            ..Head::new(path, flag)
        })
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(path, b'2', target)
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.data(Head::new("pax", b'x'), &body)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A layout made by hand.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) dir: tempfile::TempDir,
}

impl Layout {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("writable");
        fs::create_dir_all(dir.path().join("blobs/sha256")).expect("writable");
        fs::write(
            dir.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .expect("writable");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn text(&self) -> String {
        self.path().display().to_string()
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        fs::write(self.path().join(digest.path()), bytes).expect("writable");
        digest
    }

    pub(crate) fn descriptor(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = self.blob(bytes);
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub(crate) fn document(&self, media_type: &str, value: &Value) -> Value {
        self.descriptor(media_type, value.to_string().as_bytes())
    }

    pub(crate) fn config(&self, diff_ids: &[Digest]) -> Value {
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        self.document(CONFIG, &config)
    }

    pub(crate) fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.document(MANIFEST, &manifest)
    }

    pub(crate) fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        fs::write(self.path().join("index.json"), index.to_string()).expect("writable");
    }

    /// A layout with one image of these gzipped layers.
    pub(crate) fn of(tars: &[Vec<u8>]) -> Self {
        let layout = Self::new();
        let layers: Vec<Value> = tars
            .iter()
            .map(|tar| layout.descriptor(GZIP, &gzip(tar)))
            .collect();
        let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
        let manifest = layout.manifest(&layout.config(&diff_ids), &layers);
        layout.index(&[manifest]);
        layout
    }
}

/// Imports an image of these layers.
pub(crate) fn layers(tars: &[Vec<u8>]) -> Result<(Imported, Blobs), ImageError> {
    take(&Layout::of(tars).text())
}

/// The path of a program of the host, or a loud word that its test is left out.
pub(crate) fn program(name: &str) -> Option<&str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(name).is_file()) {
        return Some(name);
    }
    eprintln!("SKIPPED: `{name}` is not installed; scripts/setup-debian --test brings it");
    None
}

/// A small tree with one of everything, and its contents.
pub(crate) fn sample(blobs: &mut Blobs) -> Tree {
    let script = blobs.add(b"#!/bin/sh\n");
    let empty = blobs.add(b"");
    let mut capable = Entry::file(b"usr/bin/ping", 0o755, script, 10);
    let mut capability = vec![1, 0, 0, 2];
    capability.resize(20, 0);
    let name = b"security.capability".to_vec();
    capable.xattrs.insert(name, capability);
    capable
        .xattrs
        .insert(b"user.note".to_vec(), b"a\nb=c\0d".to_vec());
    let mut owned = Entry::file(b"home/a file", 0o4711, empty, 0);
    (owned.uid, owned.gid) = (1000, 65_535);
    let deep = ["usr/".to_owned() + &"d".repeat(200), "e".repeat(120)].join("/");
    let mut root = Entry::dir(b"", 0o1777);
    root.gid = 7;
    Tree::new(vec![
        root,
        Entry::dir(b"home", 0o700),
        owned,
        Entry::dir(b"usr", 0o755),
        Entry::dir(b"usr/bin", 0o755),
        capable,
        Entry::symlink(b"usr/bin/sh", b"../../bin/dash"),
        Entry::symlink(b"usr/long", "x/".repeat(150).as_bytes()),
        Entry::dir(&deep.as_bytes()[..204], 0o2755),
        Entry::file(deep.as_bytes(), 0o600, script, 10),
        Entry::file(b"usr/\xff\xfe not text", 0o644, script, 10),
    ])
    .expect("a good tree")
}

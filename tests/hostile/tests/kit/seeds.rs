//! Good input for every decoder: what its corpus begins with. What the golden bytes of the protocol
//! hold is taken from there; the rest is made here.

use std::{fs, path::Path};

use caravan_protocol::{codec, facts::Facts, ids::BlobId};
use serde::Serialize;

#[cfg(feature = "node")]
#[path = "node.rs"]
mod node;

type Seed = (&'static str, Vec<u8>);

const MAX: usize = 1 << 20;

const SPEC: &str = include_str!("../../../../samples/spec/every-op.spec");
const STAGES: &str = include_str!("../../../../samples/spec/multi-stage.spec");
const SETTINGS: &str = include_str!("../../../../samples/hello/caravan.toml");
const OPAM: &str =
    include_str!("../../../../samples/hello/opam/packages/alcotest/alcotest.1.6.0/opam");
const OCAML: &str = include_str!("../../../../samples/hello/opam/packages/ocaml/ocaml.5.3.0/opam");
const PACK: &[u8] = include_bytes!("../../../../node/pack/src/tests/golden-1.pack");
const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// All seeds, by the name of their decoder.
pub(crate) fn all() -> Vec<Seed> {
    let mut all = golden();
    all.extend(texts());
    all.extend(images());
    all.extend(packs());
    all.extend(sandbox());
    #[cfg(feature = "node")]
    all.extend(node::all());
    all
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    codec::encode::<MAX>(value).expect("small")
}

/// The values of a file of golden bytes.
fn file(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/tests/golden");
    let text = fs::read_to_string(dir.join(format!("{name}.hex"))).expect("golden bytes");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (_, hex) = line.split_once(' ').expect("a name and bytes");
            data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex")
        })
        .collect()
}

fn golden() -> Vec<Seed> {
    let mut all: Vec<Seed> = Vec::new();
    let mut add = |target, name: &str| {
        all.extend(file(name).into_iter().map(|bytes| (target, bytes)));
    };
    add("action", "action-3");
    add("base", "control-1-base");
    add("digest", "offers-2-digest");
    add("invite", "invite-1");
    add("index_answer", "index-1-answer");
    add("index_question", "index-1-question");
    add("member", "member-1-message");
    add("message", "control-2-message");
    add("obituary", "member-1-obituary");
    add("role", "roles-1-message");
    add("signed", "claim-1");
    add("tree", "tree-1");
    let geneses = file("genesis-1").into_iter();
    all.extend(geneses.map(|bytes| ("genesis", bytes[..bytes.len() - 32].to_vec())));
    for (target, name) in [
        ("record_alert", "alert-1"),
        ("record_charge", "charge-1"),
        ("record_claim", "claim-1"),
        ("record_cordon", "cordon-1"),
        ("record_node_cert", "node-cert-1"),
        ("record_presence", "presence-1"),
        ("record_revocation", "revocation-1"),
        ("record_seat", "seat-1"),
    ] {
        // Behind the signer, the signature and the length.
        let records = file(name).into_iter().map(|bytes| bytes[104..].to_vec());
        all.extend(records.map(|bytes| (target, bytes)));
    }
    all.push(("facts", encoded(&Facts::default())));
    all
}

fn texts() -> Vec<Seed> {
    let id = BlobId::of(b"x").to_string();
    let md5 = format!("md5={}", "1".repeat(32));
    let texts: [(&str, &str); 27] = [
        ("spec", SPEC),
        ("spec", STAGES),
        ("spec", "((from debian:12) (run (shell \"a\\\nb\")))"),
        ("text", &id),
        ("text", "linux-x86_64"),
        ("text", &md5),
        ("opam_file", OPAM),
        ("opam_file", OCAML),
        ("opam_package", OPAM),
        ("opam_package", OCAML),
        ("opam_version", "1.0~beta2\n1.0\n1.0.0+dev"),
        ("opam_version", "v0.16.0\n09\n9"),
        ("settings", SETTINGS),
        (
            "egress_request",
            "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
        ),
        (
            "egress_request",
            "GET http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n",
        ),
        ("egress_request", "HEAD /a HTTP/1.0\r\nHost: here\r\n\r\n"),
        (
            "egress_response",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: \"x\"\r\n\r\n",
        ),
        (
            "egress_response",
            "HTTP/1.1 302 Found\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("egress_target", "example.org:443"),
        ("egress_target", "[2001:db8::1]:80"),
        ("egress_target", "192.0.2.7:80"),
        ("image_digest", SUM),
        ("image_reference", "docker.io/library/debian:12"),
        (
            "image_reference",
            "localhost:5000/a/b@sha256:\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "gateway_log",
            "\u{1b}[31mError: <b>\u{1b}[0m\r\nnext\u{8}\u{1b}]0;title\u{7}\n",
        ),
        ("gateway_name", "https://example.org/a b?<c>"),
        ("mesh_address", "/ip4/192.0.2.7/udp/7450/quic-v1"),
    ];
    let mut all: Vec<Seed> = texts
        .map(|(target, text)| (target, text.as_bytes().to_vec()))
        .to_vec();
    all.push(("egress_greeting", hello("example.org")));
    all
}

/// The first message of TLS, for this name.
fn hello(name: &str) -> Vec<u8> {
    let piece = |width: usize, bytes: &[u8]| {
        let length = (bytes.len() as u64).to_be_bytes();
        [&length[8 - width..], bytes].concat()
    };
    let server = piece(2, &[&[0], piece(2, name.as_bytes()).as_slice()].concat());
    let extension = [&[0, 0], piece(2, &server).as_slice()].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &piece(1, &[1; 32]),
        &piece(2, &[0x13, 0x01]),
        &piece(1, &[0]),
        &piece(2, &extension),
    ]
    .concat();
    let message = [&[1][..], &piece(3, &body)].concat();
    [&[22, 3, 1][..], &piece(2, &message)].concat()
}

fn images() -> Vec<Seed> {
    let descriptor = |kind: &str| {
        format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{SUM}","size":3}}"#)
    };
    let layer = descriptor("layer.v1.tar+gzip");
    let config = descriptor("config.v1+json");
    let manifest = descriptor("manifest.v1+json");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{manifest}]}}"#
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[{layer}]}}"#
    );
    let configuration = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin","A=b"],"User":"root"}},"rootfs":{{"type":"layers","diff_ids":["{SUM}"]}}}}"#
    );
    let access = "Bearer realm=\"https://auth.example.org/token\",service=\"registry\"\n\
        {\"token\":\"abc\",\"expires_in\":300}";
    let plain = archive(true);
    let packed = zstd::encode_all(plain.as_slice(), 1).expect("zstd");
    vec![
        ("image_document", index.into_bytes()),
        ("image_document", manifest.into_bytes()),
        ("image_config", [&[1], configuration.as_bytes()].concat()),
        ("image_access", access.as_bytes().to_vec()),
        ("image_layer", plain),
        ("image_layer", packed),
        ("archive", archive(false)),
    ]
}

/// A small archive, as a layer or as a repository.
fn archive(is_layer: bool) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, link: Option<&str>, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        match link {
            Some(link) => tar.append_link(&mut header, path, link),
            None => tar.append_data(&mut header, path, bytes),
        }
        .expect("memory");
    };
    if is_layer {
        add("etc/", tar::EntryType::Directory, None, b"");
        add(
            "etc/os-release",
            tar::EntryType::Regular,
            None,
            b"ID=debian\n",
        );
        add("etc/l", tar::EntryType::Symlink, Some("os-release"), b"");
        add("etc/h", tar::EntryType::Link, Some("etc/os-release"), b"");
        add("etc/.wh.gone", tar::EntryType::Regular, None, b"");
        add("etc/.wh..wh..opq", tar::EntryType::Regular, None, b"");
        add(&"n".repeat(150), tar::EntryType::Regular, None, b"long");
    } else {
        add(
            "repo",
            tar::EntryType::Regular,
            None,
            b"opam-version: \"2.0\"",
        );
        let path = "packages/a/a.1/opam";
        add(
            path,
            tar::EntryType::Regular,
            None,
            b"opam-version: \"2.0\"",
        );
    }
    tar.into_inner().expect("memory")
}

fn packs() -> Vec<Seed> {
    let word = |at: usize| {
        let bytes = PACK[at..at + 4].try_into().expect("four");
        u32::from_le_bytes(bytes) as usize
    };
    let footer = PACK.len() - 64;
    let (at, packed, plain) = (word(footer), word(footer + 8), word(footer + 12));
    let index = zstd::bulk::decompress(&PACK[at..at + packed], plain).expect("an index");
    let index = [&(at as u64).to_le_bytes()[..], &index].concat();
    let frames: Vec<Vec<u8>> = [b"a line\n".as_slice(), b"another\n"]
        .iter()
        .map(|plain| zstd::bulk::compress(plain, 3).expect("zstd"))
        .collect();
    let mut log: Vec<u8> = frames.concat();
    log.extend(0x184D_2A5Eu32.to_le_bytes());
    log.extend(25u32.to_le_bytes());
    for (frame, plain) in frames.iter().zip([7u32, 8]) {
        log.extend(u32::try_from(frame.len()).expect("small").to_le_bytes());
        log.extend(plain.to_le_bytes());
    }
    log.extend(2u32.to_le_bytes());
    log.push(0);
    log.extend(0x8F92_EAB1u32.to_le_bytes());
    let row = |kind: u8, row: Vec<u8>| ("store_row", [&[kind], row.as_slice()].concat());
    let id = BlobId::of(b"x");
    vec![
        ("pack", PACK.to_vec()),
        ("pack_index", index),
        ("log", log),
        row(0, encoded(&("base/debian-12", 0u32, id, "why", 7u64))),
        row(1, encoded(&(1u32, 2u64, 3u64, "words"))),
        row(2, encoded(&(1u64, 2u64, vec![id]))),
    ]
}

fn sandbox() -> Vec<Seed> {
    let framed = |json: &str| {
        let length = u32::try_from(json.len()).expect("small").to_le_bytes();
        [&length, json.as_bytes()].concat()
    };
    vec![
        ("sandbox_reply", framed("\"Started\"")),
        ("sandbox_reply", framed("{\"Refused\":\"no layer\"}")),
        ("sandbox_word", framed("\"Running\"")),
        ("sandbox_word", framed("{\"Code\":1}")),
        ("sandbox_word", framed("{\"Born\":17}")),
        ("sandbox_request", caravan_sandbox::doors::a_request()),
        ("sandbox_order", b"r/usr/sbin/runc".to_vec()),
    ]
}

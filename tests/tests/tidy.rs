//! What the tree must look like, checked by reading it: who may depend on whom, sizes, headers,
//! words that belong in one place only. STYLE.md says why.
#![expect(
    clippy::unwrap_used,
    reason = "a tree that cannot be read fails the test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let done = Command::new(program)
        .args(args)
        .current_dir(root())
        .output();
    let done = done.ok().filter(|done| done.status.success())?;
    Some(String::from_utf8(done.stdout).unwrap())
}

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    output(&cargo, args).unwrap_or_else(|| panic!("cargo {args:?} failed"))
}

/// Relative paths of all files that are or would be tracked.
fn files() -> Vec<String> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let mut files: Vec<String> = match output("git", &args) {
        Some(listed) => listed.lines().map(str::to_owned).collect(),
        None => {
            let mut found = Vec::new();
            walk(&root(), "", &mut found);
            found
        }
    };
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files.dedup();
    assert!(files.len() > 50, "the tree was not found");
    files
}

/// Without git, everything but hidden and built things.
fn walk(dir: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let own = entry.file_name().into_string().unwrap();
        if own.starts_with('.') || own == "target" {
            continue;
        }
        let path = if name.is_empty() {
            own
        } else {
            format!("{name}/{own}")
        };
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &path, found);
        } else {
            found.push(path);
        }
    }
}

fn is_test(file: &str) -> bool {
    let in_tests = file.contains("/tests/") || file.contains("/examples/");
    in_tests || file.ends_with("/tests.rs")
}

/// The lines of a Rust file up to its inline tests.
fn code(file: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let tests = (0..lines.len()).find(|at| {
        lines[*at].trim() == "#[cfg(test)]"
            && lines
                .get(at + 1)
                .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
    });
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

/// Rust files that are not tests, with their code.
fn sources() -> Vec<(String, Vec<String>)> {
    let is_source = |file: &String| {
        let extension = Path::new(file).extension();
        extension.is_some_and(|extension| extension == "rs") && !is_test(file)
    };
    files()
        .into_iter()
        .filter(is_source)
        .map(|file| {
            let lines = code(&file);
            (file, lines)
        })
        .collect()
}

/// Lines of code, without comments, in which `is_bad` finds something.
fn offences(is_exempt: impl Fn(&str) -> bool, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (file, lines) in sources() {
        if is_exempt(&file) {
            continue;
        }
        for (at, line) in lines.iter().enumerate() {
            if !line.trim_start().starts_with("//") && is_bad(line) {
                found.push(format!("{file}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    found
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Every dependency of each member, tests' ones too.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&[
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let of = |package: &Value| {
        package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(package), of(package)))
        .collect()
}

const POLICIES: [&str; 4] = [
    "caravan-pipeline",
    "caravan-opam",
    "caravan-ci",
    "caravan-build",
];
const ROOMS: [&str; 7] = [
    "caravan-image",
    "caravan-store",
    "caravan-sandbox",
    "caravan-mesh",
    "caravan-effects",
    "caravan-egress",
    "caravan-gateway",
];

#[test]
fn dependencies_point_one_way() {
    let all = dependencies();
    let mut wrong = Vec::new();
    for (package, depends) in &all {
        let may = |other: &str| match package.as_str() {
            "caravan-protocol" => false,
            policy if POLICIES.contains(&policy) => {
                other == "caravan-protocol" || POLICIES.contains(&other)
            }
            "caravan-pack" => other == "caravan-protocol",
            "caravan-erofs" => false,
            "caravan-store" | "caravan-sandbox" if other == "caravan-erofs" => true,
            "caravan-store" if other == "caravan-pack" => true,
            room if ROOMS.contains(&room) => other == "caravan-protocol",
            "caravan-node" => other == "caravan-protocol" || ROOMS.contains(&other),
            // It drives the simulator of the tests, faster.
            "caravan-tests" | "caravan-bench-market" => true,
            _ => other != "caravan-tests",
        };
        let ours = depends.iter().filter(|other| all.contains_key(*other));
        wrong.extend(
            ours.filter(|other| !may(other))
                .map(|other| format!("{package} -> {other}")),
        );
    }
    assert_none("dependencies against the direction", &wrong);
}

#[test]
fn big_dependencies_stay_in_their_rooms() {
    let rooms = |dependency: &str| -> Option<&[&str]> {
        match dependency {
            "git2" => Some(&["caravan-effects"]),
            "clap" => Some(&["caravan", "caravan-bootstrap"]),
            "bincode" => Some(&["caravan-protocol"]),
            "axum" | "askama" => Some(&["caravan-gateway"]),
            "seccompiler" => Some(&["caravan-sandbox"]),
            "libc" => Some(&["caravan-sandbox", "caravan-tests", "caravan-corpus"]),
            other if other.starts_with("libp2p") => Some(&["caravan-mesh"]),
            _ => None,
        }
    };
    let mut wrong = Vec::new();
    for (package, depends) in dependencies() {
        for dependency in depends {
            if rooms(&dependency).is_some_and(|rooms| !rooms.contains(&package.as_str())) {
                wrong.push(format!("{package} -> {dependency}"));
            }
        }
    }
    assert_none("dependencies outside of their rooms", &wrong);
}

#[test]
fn what_decides_reaches_nothing_that_touches() {
    let mut wrong = Vec::new();
    for package in POLICIES.iter().chain(&["caravan-protocol"]) {
        let tree = cargo(&[
            "tree",
            "--offline",
            "--locked",
            "-p",
            package,
            "-e",
            "normal",
            "--prefix",
            "none",
        ]);
        for line in tree.lines() {
            let name = line.split(' ').next().unwrap();
            let touches = ["tokio", "quinn", "git2", "rustix", "axum", "redb"];
            if touches.contains(&name) || name.starts_with("libp2p") {
                wrong.push(format!("{package} reaches {name}"));
            }
        }
    }
    assert_none("engines must be able to run in a simulator", &wrong);
}

#[test]
fn what_decides_names_no_clock_no_disk_and_no_random_order() {
    let banned = [
        "HashMap",
        "HashSet",
        "Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env::var",
        "std::env::args",
    ];
    let is_exempt = |file: &str| !file.starts_with("protocol/") && !file.starts_with("policies/");
    let found = offences(is_exempt, |line| {
        banned.iter().any(|word| has_word(line, word))
    });
    assert_none("engines are told everything and keep order", &found);
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, lines)| lines.len() > LINES_MAX)
        .map(|(file, lines)| format!("{file}: {} lines", lines.len()))
        .collect();
    assert_none(&format!("files of more than {LINES_MAX} lines"), &long);
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|(_, lines)| !lines.first().is_some_and(|line| line.starts_with("//! ")))
        .map(|(file, _)| file.clone())
        .collect();
    assert_none("files that do not begin with `//! `", &silent);
    let named: Vec<String> = files()
        .into_iter()
        .filter(|f| f.ends_with("/mod.rs"))
        .collect();
    assert_none("a module is `foo.rs` and `foo/`", &named);
}

#[test]
fn unsafe_code_is_in_the_sandbox_and_where_the_store_maps_files() {
    let is_unsafe = |line: &str| {
        let forms = [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe extern",
            "unsafe(",
        ];
        forms.iter().any(|form| line.contains(form))
    };
    // The corpus makes calls that no wrapper would: in one file of its own.
    let is_place =
        |file: &str| file.starts_with("node/sandbox/") || file == "tests/corpus/src/raw.rs";
    let found = offences(is_place, is_unsafe);
    let store: BTreeSet<&str> = found
        .iter()
        .filter(|place| place.starts_with("node/store/"))
        .map(|place| place.split(':').next().unwrap())
        .collect();
    assert!(
        store.len() <= 1,
        "more than one file of the store: {store:?}"
    );
    let elsewhere: Vec<String> = found
        .iter()
        .filter(|place| !place.starts_with("node/store/"))
        .cloned()
        .collect();
    assert_none("unsafe code outside of its places", &elsewhere);
}

#[test]
fn nothing_is_unwrapped_or_left_to_do() {
    let words = [".unwrap()", "todo!(", "unimplemented!(", "dbg!("];
    let found = offences(
        |_| false,
        |line| words.iter().any(|word| line.contains(word)),
    );
    assert_none("say why it holds, or handle it", &found);
}

#[test]
fn the_codec_is_named_in_one_file() {
    let is_codec = |file: &str| file == "protocol/src/codec.rs";
    let found = offences(is_codec, |line| has_word(line, "bincode"));
    assert_none("bincode outside of protocol::codec", &found);
}

/// Words that tell of this machine: where the tree lies, its name, its private mirrors.
fn private_words() -> Vec<String> {
    let mut words = Vec::new();
    let root = root();
    if root.components().count() > 2 {
        words.push(root.to_str().unwrap().to_owned());
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.len() >= 8 && name != "localhost" {
        words.push(name.to_owned());
    }
    let mut configs = Vec::new();
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    configs.push(PathBuf::from(format!("{cargo}/config.toml")));
    configs.push(PathBuf::from("/etc/apt/sources.list"));
    let listed = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten();
    configs.extend(listed.filter_map(|entry| Some(entry.ok()?.path())));
    for config in configs {
        let text = fs::read_to_string(config).unwrap_or_default();
        for (at, _) in text.match_indices("://") {
            let rest = &text[at + 3..];
            let end = rest.find(['/', '"', ' ', '\n', ':']).unwrap_or(rest.len());
            let public = [
                "debian.org",
                "crates.io",
                "github.com",
                "rust-lang.org",
                "localhost",
            ];
            let host = &rest[..end];
            if host.contains('.') && !public.iter().any(|known| host.ends_with(known)) {
                words.push(host.to_owned());
            }
        }
    }
    words
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let words = private_words();
    let mut found = Vec::new();
    for file in files() {
        // What is no text holds no names.
        let Ok(text) = fs::read_to_string(root().join(&file)) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{file}:{}", at + 1));
            }
        }
    }
    assert_none("names of this machine or its mirrors", &found);
}

#[test]
fn every_dependency_has_its_reason_and_its_use() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .collect();
    let used: BTreeSet<String> = dependencies().into_values().flatten().collect();
    let (mut wrong, mut has_reason, mut count) = (Vec::new(), false, 0);
    for line in lines {
        let Some((name, _)) = line.split_once(" = ") else {
            has_reason = line.starts_with("# ");
            continue;
        };
        if line.starts_with('#') {
            has_reason = true;
            continue;
        }
        count += 1;
        if !has_reason {
            wrong.push(format!("{name} has no reason above it"));
        }
        if !used.contains(name) {
            wrong.push(format!("{name} is used by no member"));
        }
    }
    assert!(count > 10, "the dependencies were not found");
    assert_none("dependencies of the workspace", &wrong);
}

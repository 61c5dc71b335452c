//! How to do a variant by hand, without this program: the block that ocaml-ci's users know.

use std::fmt::Write;

use caravan_protocol::policy::{Base, ProjectHead};

use crate::plan::Plan;

/// Commands that do what the variant did, with Docker and plain opam.
pub(crate) fn dockerfile(base: &Base, plan: &Plan, head: &ProjectHead) -> String {
    let suite = base.facts.get("suite").map_or("stable", String::as_str);
    let suite = if suite.bytes().all(|b| b.is_ascii_lowercase()) {
        suite
    } else {
        "stable"
    };
    let packages: Vec<String> = plan
        .packages
        .iter()
        .map(|plan| plan.package.to_string())
        .collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "git clone --recursive {project} reproduce && cd reproduce && git reset --hard {commit}\n\
         cat > ../Dockerfile <<'END-OF-DOCKERFILE'\n\
         FROM debian:{suite}\n\
         RUN apt-get update && apt-get install -qq -y opam ocaml build-essential m4 pkg-config git ca-certificates unzip rsync libgmp-dev\n\
         RUN useradd -m opam\n\
         USER opam\n\
         WORKDIR /home/opam/src\n\
         RUN opam init --bare --disable-sandboxing -ny && opam switch create default --empty\n\
         COPY --chown=opam . .\n",
        project = quoted(&head.project),
        commit = head.commit,
    );
    for dir in overlays(head) {
        let _ = writeln!(
            text,
            "RUN opam repository add overlay-{} ./{dir}",
            dir.replace('/', "-")
        );
    }
    let _ = write!(
        text,
        "RUN opam install -y {packages}\n\
         RUN opam exec -- dune build @install @check && opam exec -- dune build @runtest\n\
         END-OF-DOCKERFILE\n\
         docker build -f ../Dockerfile .\n\
         # or, with this program: caravan ci . --ref {commit} --base {base}\n",
        packages = packages.join(" "),
        commit = head.commit,
        base = base.name,
    );
    text
}

fn overlays(head: &ProjectHead) -> Vec<String> {
    let settings = crate::settings::Settings::read(head.files.read("caravan.toml").as_deref());
    let places = settings
        .map(|settings| settings.repositories)
        .unwrap_or_default();
    let own = |place| match place {
        crate::settings::Place::Project(dir) => Some(dir),
        crate::settings::Place::Node(_) => None,
    };
    places.into_iter().filter_map(own).collect()
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,=%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

//! Steps: the requests that a plan comes to once the layers below are known. The shell of each is a
//! recipe beside this file, and part of the action's key like everything else that it sees.

use std::collections::BTreeMap;

use caravan_opam::Name;
use caravan_pipeline::{Fail, Request};
use caravan_protocol::{
    action::{Action, Fetch, Input, Limits, NamedOutput, Network, Profile, Run, TrustDomain, Work},
    ids::{BlobId, TreeId},
    level::Level,
    policy::Base,
    tree::Tree,
};

use crate::plan::{PackagePlan, Plan};

const SWITCH: &str = include_str!("recipe/switch.sh");
const PACKAGE: &str = include_str!("recipe/package.sh");
const PROJECT: &str = include_str!("recipe/project.sh");

/// The user of every step, made by the base.
const USER: (u32, u32) = (1000, 1000);
/// Named output of the project's step: what was built and tested.
pub(crate) const RESULT: &str = "result";
/// How long one package may take, milliseconds.
const PACKAGE_WALL_MS: u64 = 2 * 3_600_000;

/// A command on `layers` over the base.
fn run(base: &Base, domain: TrustDomain, script: &str, layers: Vec<TreeId>) -> (Action, Run) {
    let env = [
        ("HOME", "/home/opam"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("TERM", "dumb"),
    ];
    let run = Run {
        base: base.tree,
        layers,
        inputs: Vec::new(),
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        user: USER,
        workdir: "/home/opam".to_owned(),
        network: Network::None,
        keep_layer: true,
        outputs: Vec::new(),
        secrets: Vec::new(),
        profile: Profile::Strict,
    };
    let action = Action {
        platform: base.platform.clone(),
        domain,
        work: Work::Fetch(Fetch { files: Vec::new() }),
        limits: Limits {
            wall_ms: PACKAGE_WALL_MS,
            ..Limits::default()
        },
        sources: Vec::new(),
        caches: Vec::new(),
    };
    (action, run)
}

fn request(label: String, action: Action, run: Run, provide: Vec<(Tree, Vec<Vec<u8>>)>) -> Request {
    Request {
        label,
        action: Action {
            work: Work::Run(run),
            ..action
        },
        level: Level::Claimed,
        provide,
    }
}

/// The empty switch that all package layers of a base lie on.
pub(crate) fn switch(base: &Base) -> Request {
    let (action, run) = run(base, TrustDomain::packages(), SWITCH, Vec::new());
    request(format!("switch on {}", base.name), action, run, Vec::new())
}

/// The files of a package's source, if it has any.
pub(crate) fn fetch(base: &Base, plan: &PackagePlan) -> Option<Request> {
    if plan.files.is_empty() {
        return None;
    }
    let files = plan
        .files
        .iter()
        .map(|file| file.declared.clone())
        .collect();
    let action = Action {
        platform: base.platform.clone(),
        domain: TrustDomain::packages(),
        work: Work::Fetch(Fetch { files }),
        limits: Limits::default(),
        caches: Vec::new(),
        sources: plan.files.iter().map(|file| file.sources.clone()).collect(),
    };
    let label = format!("fetch {}", plan.package);
    Some(Request {
        label,
        action,
        level: Level::Claimed,
        provide: Vec::new(),
    })
}

/// A package on the switch and the layers of its closure.
pub(crate) fn package(
    base: &Base,
    plan: &Plan,
    place: usize,
    layers: &[TreeId],
    source: Option<TreeId>,
) -> Result<Request, Fail> {
    let own = &plan.packages[place];
    let (action, mut run) = run(base, TrustDomain::packages(), PACKAGE, layers.to_vec());
    let installed = own
        .closure
        .iter()
        .map(|place| plan.packages[*place].package.to_string());
    let post = own.post.iter().map(ToString::to_string);
    run.env
        .push(("CARAVAN_PACKAGE".to_owned(), own.package.to_string()));
    run.env
        .push(("CARAVAN_INSTALLED".to_owned(), words(installed)));
    run.env.push(("CARAVAN_POST".to_owned(), words(post)));
    let (tree, blobs) = repository(own)?;
    let (id, _) = tree.seal().map_err(|error| Fail::new(error.to_string()))?;
    run.inputs.push(Input {
        tree: id,
        target: "/caravan/repo".to_owned(),
    });
    if let Some(source) = source {
        run.inputs.push(Input {
            tree: source,
            target: "/caravan/sources".to_owned(),
        });
    }
    Ok(request(
        own.package.to_string(),
        action,
        run,
        vec![(tree, blobs)],
    ))
}

/// The project itself, built and tested on the layers of all its dependencies.
pub(crate) fn project(
    base: &Base,
    plan: &Plan,
    (name, source): (&str, TreeId),
    layers: &[TreeId],
) -> Request {
    let (action, mut run) = run(base, TrustDomain::project(name), PROJECT, layers.to_vec());
    let installed = plan.packages.iter().map(|plan| plan.package.to_string());
    run.env
        .push(("CARAVAN_INSTALLED".to_owned(), words(installed)));
    let own: Vec<&str> = plan.own.iter().map(Name::as_str).collect();
    run.env.push(("CARAVAN_PACKAGES".to_owned(), own.join(" ")));
    run.inputs.push(Input {
        tree: source,
        target: "/caravan/src".to_owned(),
    });
    run.outputs.push(NamedOutput {
        name: RESULT.to_owned(),
        path: "/home/opam/result".to_owned(),
    });
    // Nothing is built on the project's own step: what it says is its result.
    run.keep_layer = false;
    request("build and test".to_owned(), action, run, Vec::new())
}

/// A repository that holds just this package.
fn repository(plan: &PackagePlan) -> Result<(Tree, Vec<Vec<u8>>), Fail> {
    let dir = format!("packages/{}/{}", plan.package.name, plan.package);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    files.insert("repo".to_owned(), b"opam-version: \"2.0\"\n".to_vec());
    files.insert(format!("{dir}/opam"), plan.opam.clone().into_bytes());
    for (path, bytes) in &plan.extra {
        files.insert(format!("{dir}/files/{path}"), bytes.to_vec());
    }
    let listed = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), BlobId::of(bytes), bytes.len() as u64));
    let tree = Tree::of_files(listed)
        .map_err(|error| Fail::new(format!("files of {}: {error}", plan.package)))?;
    Ok((tree, files.into_values().collect()))
}

fn words(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    items.sort();
    items.join(" ")
}

//! From steps to actions: a step becomes one once the layers below it are known.

use caravan_protocol::{
    action::{Action, Copy, CopyFrom, Limits, Profile, Run, TrustDomain, Work as ActionWork},
    ids::TreeId,
    policy::{Found, SpecHead},
    tree::Tree,
};

use crate::plan::{From, Made, Step, Work, env_of};

/// Where programs are looked for if neither image nor spec says: what shells take by themselves.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Home of a user that the image does not know.
const NO_HOME: &str = "/";

/// What a build has come to: its image and the layers above it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Root<'a> {
    pub(crate) found: &'a Found,
    pub(crate) layers: &'a [TreeId],
}

/// The layers of a build, whose steps have left these.
#[must_use]
pub fn stack(left: impl IntoIterator<Item = TreeId>) -> Vec<TreeId> {
    let mut layers = Vec::new();
    for layer in left {
        put(&mut layers, layer);
    }
    layers
}

/// Lays what a step has left onto the layers of those before it. A step that changed nothing adds
/// nothing; and of two equal layers the upper one hides the lower one wholly, so no layer is twice
/// in a stack.
pub(crate) fn put(layers: &mut Vec<TreeId>, layer: TreeId) {
    if is_empty(layer) {
        return;
    }
    layers.retain(|known| *known != layer);
    layers.push(layer);
}

/// Whether this is the layer of a step that changed nothing.
fn is_empty(layer: TreeId) -> bool {
    let nothing = Tree::new(Vec::new()).and_then(|tree| tree.seal());
    nothing.is_ok_and(|(id, _)| id == layer)
}

/// The action of a step on what its build has come to. `root_of` says what another build came to.
pub(crate) fn action<'a>(
    head: &SpecHead,
    made: &Made,
    step: &Step,
    own: Root<'_>,
    root_of: impl Fn(usize) -> Root<'a>,
) -> Action {
    let mut caches = Vec::new();
    let work = match &step.work {
        Work::Run {
            shell,
            command,
            workdir,
            network,
            secrets,
            caches: lent,
        } => {
            caches.clone_from(lent);
            ActionWork::Run(Run {
                base: own.found.base.tree,
                layers: own.layers.to_vec(),
                inputs: Vec::new(),
                argv: shell.iter().chain([command]).cloned().collect(),
                env: environment(made, step, own.found),
                user: step.user,
                workdir: workdir.clone(),
                network: network.clone(),
                keep_layer: true,
                outputs: Vec::new(),
                secrets: secrets.clone(),
                profile: Profile::Spec,
            })
        }
        Work::Copy {
            from,
            src,
            dst,
            exclude,
        } => {
            let (from, exclude) = match from {
                // What is left out was not read.
                From::Context(at) => (CopyFrom::Tree(head.context[*at]), Vec::new()),
                From::Build(at) => {
                    let other = root_of(*at);
                    let from = CopyFrom::Root {
                        base: other.found.base.tree,
                        layers: other.layers.to_vec(),
                    };
                    (from, exclude.clone())
                }
            };
            ActionWork::Copy(Copy {
                from,
                src: src.clone(),
                dst: dst.clone(),
                exclude,
                user: step.user,
            })
        }
    };
    Action {
        platform: own.found.base.platform.clone(),
        domain: TrustDomain::project(&head.project),
        work,
        limits: Limits::default(),
        sources: Vec::new(),
        caches,
    }
}

/// The whole environment of a command: the image's, the spec's, and what every command is to have.
fn environment(made: &Made, step: &Step, found: &Found) -> Vec<(String, String)> {
    let mut env = env_of(&found.base.env, &made.env[..step.env]);
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".to_owned(), PATH.to_owned()));
    }
    let has_home = |(name, value): &(String, String)| name == "HOME" && !value.is_empty();
    if !env.iter().any(has_home) {
        env.retain(|(name, _)| name != "HOME");
        let home = found
            .homes
            .get(&step.user.0)
            .map_or(NO_HOME, String::as_str);
        env.push(("HOME".to_owned(), home.to_owned()));
    }
    env
}

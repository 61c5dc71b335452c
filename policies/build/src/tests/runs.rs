//! The policy between the events of a node.

use super::{
    ActionWork, Build, CopyFrom, Event, Found, Image, Network, Policy, SpecHead, State, Tree,
    TreeId, Verdict, WantId, WantState, Watched, World, found, head, key, stack, tree,
};

#[test]
fn each_step_stands_on_the_layers_of_those_before() {
    let mut world =
        World::new("((from base) (run (shell a)) (copy (src f) (dst /d/)) (run (shell b)))");
    assert_eq!(world.asked(), [0], "a step waits for its layers");
    world.pass(0);
    assert_eq!(world.asked(), [1]);
    let copy = world.pass(1);
    let ActionWork::Copy(copy) = copy.work else {
        panic!("no copy")
    };
    assert_eq!(copy.from, CopyFrom::Tree(tree("context 0")));
    let last = world.pass(2);
    let ActionWork::Run(run) = last.work else {
        panic!("no run")
    };
    assert_eq!(run.base, tree("base"));
    assert_eq!(run.layers, [tree("layer 0"), tree("layer 1")]);
    assert!(world.policy.is_settled());
    assert_eq!(world.states(), [("(build)".to_owned(), State::Ok)]);
}

#[test]
fn the_environment_is_the_newest_first_and_the_images_last() {
    let mut world = World::new(
        "((from base) (env A 1) (env B 2) (env LANG de) (env A 3) (user (uid 1000) (gid 1000)) (run (shell x)))",
    );
    let ActionWork::Run(run) = world.pass(0).work else {
        panic!("no run")
    };
    let env: Vec<String> = run.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        env,
        ["A=3", "LANG=de", "B=2", "PATH=/bin", "HOME=/home/opam"]
    );
    assert_eq!(run.user, (1000, 1000));
}

#[test]
fn path_and_home_are_given_where_nobody_gives_them() {
    let env_of = |ops: &str, env: &[(&str, &str)]| {
        let mut head = head(&format!("((from base) {ops} (run (shell x)))"));
        let image = Image::new("base").expect("a name");
        let mut known: Found = found("base");
        known.base.env = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        head.images.insert(image, known);
        let mut world = World::new("((from base))");
        world.policy = Box::new(Build::default());
        world.tell(Event::Watched(Watched::Spec(head)));
        let ActionWork::Run(run) = world.pass(0).work else {
            panic!("no run")
        };
        run.env
            .into_iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
    };
    let usual = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env_of("", &[]), [usual, "HOME=/root"]);
    assert_eq!(env_of("(user (uid 7) (gid 7))", &[]), [usual, "HOME=/"]);
    assert_eq!(
        env_of("(env HOME /h)", &[("PATH", "/p")]),
        ["HOME=/h", "PATH=/p"]
    );
    assert_eq!(
        env_of("(env HOME \"\")", &[("PATH", "/p")]),
        ["PATH=/p", "HOME=/root"]
    );
}

#[test]
fn networks_secrets_and_caches_reach_the_action() {
    let mut world = World::new(
        "((from base) (run (network host) (cache (c (target /cache//c/))) (secrets (s (target /run/s))) (shell x)))",
    );
    let action = world.pass(0);
    let with = key(&action);
    assert_eq!(
        (
            action.caches[0].id.as_str(),
            action.caches[0].target.as_str()
        ),
        ("c", "/cache/c")
    );
    let mut without = action.clone();
    without.caches.clear();
    assert_eq!(key(&without), with, "a cache is beside the key");
    let ActionWork::Run(run) = &action.work else {
        panic!("no run")
    };
    assert_eq!(run.network, Network::Host);
    assert_eq!(
        (run.secrets[0].id.as_str(), run.secrets[0].target.as_str()),
        ("s", "/run/s")
    );
    assert!(run.keep_layer && run.workdir == "/");
}

/// The layers that the last of these runs stands on, of which each leaves what is given.
fn stacked(left: &[TreeId]) -> Vec<TreeId> {
    let mut world = World::new(&format!(
        "((from base) {})",
        "(run (shell x))".repeat(left.len() + 1)
    ));
    for (id, layer) in (0..).zip(left) {
        world.leave(id, *layer);
    }
    let last = u64::try_from(left.len()).expect("few");
    let ActionWork::Run(run) = world.pass(last).work else {
        panic!("no run")
    };
    assert_eq!(run.layers, stack(left.iter().copied()));
    run.layers
}

#[test]
fn a_step_that_changed_nothing_adds_no_layer() {
    let nothing = Tree::new(Vec::new())
        .expect("a tree")
        .seal()
        .expect("small")
        .0;
    let (a, b) = (tree("a"), tree("b"));
    assert_eq!(stacked(&[nothing, a, nothing, nothing, b]), [a, b]);
    assert_eq!(stacked(&[nothing]), []);
}

#[test]
fn no_layer_is_twice_in_a_stack() {
    let (a, b, c) = (tree("a"), tree("b"), tree("c"));
    assert_eq!(stacked(&[a, b, a, c]), [b, a, c]);
    assert_eq!(stacked(&[a, a]), [a]);
}

const DIAMOND: &str = "
((build a ((from one) (run (shell x)) (run (shell y))))
 (build b ((from two) (run (shell x))))
 (from three)
 (run (shell z))
 (copy (from (build a)) (src /made) (dst /got) (exclude .git))
 (copy (from (build b)) (src /made) (dst /got-too)))";

#[test]
fn independent_builds_are_wanted_at_the_same_time() {
    let mut world = World::new(DIAMOND);
    assert_eq!(world.asked(), [0, 2, 3]);
    world.pass(3);
    assert_eq!(
        world.asked(),
        [0, 2],
        "a copy waits for the build that it copies from"
    );
    world.pass(0);
    world.pass(1);
    assert_eq!(world.asked(), [2, 4]);
    let copy = world.pass(4);
    let ActionWork::Copy(copy) = copy.work else {
        panic!("no copy")
    };
    let (base, layers) = (tree("one"), vec![tree("layer 0"), tree("layer 1")]);
    assert_eq!(copy.from, CopyFrom::Root { base, layers });
    assert_eq!(copy.exclude, [".git"]);
    assert_eq!(world.asked(), [2]);
    assert!(!world.policy.is_settled());
    world.pass(2);
    world.pass(5);
    assert!(world.policy.is_settled());
    assert_eq!(world.policy.view().summary, "6 of 6 steps done");
}

#[test]
fn the_first_failure_ends_everything() {
    let mut world = World::new(DIAMOND);
    world.tell(Event::Want {
        id: WantId(0),
        state: WantState::Queued,
    });
    world.end(2, Verdict::Fail);
    assert_eq!(world.unwanted, [WantId(0), WantId(3)]);
    assert!(world.policy.is_settled());
    let view = world.policy.view();
    let states: Vec<State> = view.variants.iter().map(|variant| variant.state).collect();
    assert_eq!(states, [State::Cancelled, State::Failed, State::Cancelled]);
    let words = view.variants[1].message.as_deref();
    assert_eq!(words, Some("run: x: it exited with 7\nwords"));
    assert_eq!(view.summary, "0 of 6 steps done, run: x failed");
}

#[test]
fn what_comes_late_or_twice_changes_nothing() {
    let mut world = World::new("((from base) (run (shell a)) (run (shell b)))");
    let state = WantState::Queued;
    world.tell(Event::Want {
        id: WantId(9),
        state,
    });
    world.pass(0);
    let before = world.policy.view();
    let state = WantState::Queued;
    world.tell(Event::Want {
        id: WantId(0),
        state,
    });
    world.tell(Event::Watched(Watched::Spec(head("((from other))"))));
    assert_eq!(world.policy.view(), before);
    world.end(1, Verdict::Infra);
    assert!(world.policy.is_settled() && world.asked().is_empty());
    assert_eq!(world.states()[0].1, State::Failed);
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let world = World::new("((from base) (comment hi) (workdir /x))");
    assert!(world.policy.is_settled() && world.policy.may_do_nothing());
    assert_eq!(world.states(), [("(build)".to_owned(), State::Ok)]);
}

#[test]
fn a_spec_that_came_without_its_needs_is_refused() {
    for spoil in [
        (|head: &mut SpecHead| head.context.clear()) as fn(&mut SpecHead),
        |head| head.images.clear(),
    ] {
        let mut head = head("((from base) (copy (src a) (dst b)))");
        spoil(&mut head);
        let mut policy = Build::default();
        policy.handle(Event::Watched(Watched::Spec(head)), &mut Vec::new());
        assert!(policy.is_settled());
        let view = policy.view();
        assert_eq!(view.variants[0].state, State::Failed);
        assert!(view.variants[0].message.is_some());
    }
}

#[test]
fn projects_share_no_results() {
    let action = |project: &str| {
        let mut head = head("((from base) (run (shell x)))");
        project.clone_into(&mut head.project);
        let mut world = World::new("((from base))");
        world.policy = Box::new(Build::default());
        world.tell(Event::Watched(Watched::Spec(head)));
        key(&world.pass(0))
    };
    assert_ne!(action("one"), action("two"));
    assert_eq!(action("one"), action("one"));
}

#[test]
fn the_drawing_joins_builds_where_they_are_copied_from() {
    let world = World::new(DIAMOND);
    let terms = world.policy.view().terms;
    let labels: Vec<&str> = terms.iter().map(|term| term.label.as_str()).collect();
    assert_eq!(labels[0], "a (from one)");
    assert_eq!(labels[7], "copy: /made -> /got");
    assert_eq!(terms[7].inputs, [6, 2]);
    assert_eq!(terms[8].inputs, [7, 4]);
}

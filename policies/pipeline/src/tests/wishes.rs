use super::*;

/// An engine with one input of a list of names, each of which is asked for.
fn asking() -> (Engine, Input<Vec<&'static str>>, Term<Vec<Outcome>>) {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (list, names) = root.input::<Vec<&'static str>>("names");
    let built = root.list_map(names, |scope, name| {
        let request = scope.ok(request(name));
        scope.action(request, name)
    });
    (engine, list, built)
}

#[test]
fn an_action_is_asked_for_once_and_ends_with_its_outcome() {
    let (mut engine, list, built) = asking();
    assert!(round(&mut engine).is_empty());
    engine.set(list, Ok(vec!["a", "b"]));
    assert_eq!(round(&mut engine), ["want 0 a", "want 1 b"]);
    assert_eq!(engine.status(built), Status::Ready);
    engine.deliver(WantId(1), WantState::Running(node()));
    assert!(round(&mut engine).is_empty());
    assert_eq!(engine.status(built), Status::Running);
    engine.deliver(WantId(1), done("b", Verdict::Pass));
    engine.deliver(WantId(0), done("a", Verdict::Pass));
    assert!(round(&mut engine).is_empty());
    assert_eq!(
        engine.value(built),
        Some(&vec![
            outcome("a", Verdict::Pass),
            outcome("b", Verdict::Pass)
        ])
    );
    assert!(engine.is_settled());
}

#[test]
fn a_command_carries_what_was_requested() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let wanted = root.ok(Request {
        level: Level::Confirmed,
        ..request("a")
    });
    let _ = root.action(wanted, "build");
    engine.stabilise();
    let expected = Command::Want {
        id: WantId(0),
        label: "a".to_owned(),
        action: action("a"),
        level: Level::Confirmed,
    };
    assert_eq!(engine.take_commands(), [expected]);
    assert!(engine.take_commands().is_empty());
}

#[test]
fn a_vanished_key_is_unwanted_and_never_asked_under_the_same_name() {
    let (mut engine, list, _) = asking();
    engine.set(list, Ok(vec!["a", "b"]));
    engine.stabilise();
    engine.set(list, Ok(vec!["b", "c"]));
    assert_eq!(round(&mut engine)[2..], ["want 2 c", "unwant 0"]);
    engine.deliver(WantId(0), done("a", Verdict::Pass));
    assert!(round(&mut engine).is_empty(), "a late report does nothing");
    engine.set(list, Ok(vec!["a"]));
    assert_eq!(round(&mut engine), ["want 3 a", "unwant 1", "unwant 2"]);
}

#[test]
fn failing_outcomes_fail_the_term_and_stay_readable() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let wanted = root.ok(request("a"));
    let built = root.action(wanted, "build a");
    let after = root.map(built, "after", |outcome| Ok(outcome.wall_ms));
    let caught = root.catch(after);
    round(&mut engine);
    for verdict in [Verdict::Fail, Verdict::Infra] {
        engine.deliver(WantId(0), done("a", verdict));
        engine.stabilise();
        let Some(Err(fail)) = engine.value(caught) else {
            panic!("it must fail");
        };
        assert_eq!(fail.to_string(), "build a: a broke");
        assert_eq!(fail.outcome(), Some(&outcome("a", verdict)));
        let wish = engine.want_of(built).unwrap();
        assert_eq!(wish.state, &done("a", verdict));
        assert_eq!((wish.label, wish.users), ("a", 1));
    }
    let mute = Outcome {
        message: None,
        ..outcome("a", Verdict::Infra)
    };
    engine.deliver(WantId(0), WantState::Done(mute));
    engine.stabilise();
    let Status::Failed(fail) = engine.status(built) else {
        panic!("it must fail");
    };
    assert_eq!(fail.message(), "no node could run it");
}

#[test]
fn equal_actions_share_one_wish_until_the_last_user_goes() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (one, ta) = root.input::<Request>("one");
    let (two, tb) = root.input::<Request>("two");
    let a = root.action(ta, "a");
    let b = root.action(tb, "b");
    engine.set(one, Ok(request("x")));
    engine.set(
        two,
        Ok(Request {
            label: "the same by another name".to_owned(),
            ..request("x")
        }),
    );
    assert_eq!(round(&mut engine), ["want 0 x"]);
    assert_eq!(engine.want_of(a), engine.want_of(b));
    assert_eq!(engine.want(WantId(0)).unwrap().users, 2);
    engine.deliver(WantId(0), done("x", Verdict::Pass));
    engine.stabilise();
    assert!(engine.value(a).is_some() && engine.value(a) == engine.value(b));
    engine.set(one, Ok(request("y")));
    assert_eq!(round(&mut engine), ["want 1 y"]);
    engine.set(two, Err(Fail::new("withdrawn")));
    assert_eq!(round(&mut engine), ["unwant 0"]);
    engine.set(two, Ok(request("y")));
    assert!(round(&mut engine).is_empty());
    assert_eq!(engine.stats().wishes, 1);
}

#[test]
fn one_action_at_two_levels_is_two_wishes() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    for level in [Level::Claimed, Level::Precious] {
        let wanted = root.ok(Request {
            level,
            ..request("x")
        });
        let _ = root.action(wanted, "x");
    }
    assert_eq!(round(&mut engine), ["want 0 x", "want 1 x"]);
}

#[test]
fn a_rebuilt_sub_graph_that_asks_the_same_disturbs_nothing() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let built = root.bind(term, |scope, x| {
        let wanted = scope.ok(request(if *x < 10 { "low" } else { "high" }));
        scope.action(wanted, "build")
    });
    engine.set(x, Ok(1));
    assert_eq!(round(&mut engine), ["want 0 low"]);
    engine.deliver(WantId(0), WantState::Running(node()));
    engine.stabilise();
    engine.set(x, Ok(2));
    assert!(round(&mut engine).is_empty());
    assert_eq!(engine.status(built), Status::Running);
    engine.set(x, Ok(20));
    assert_eq!(round(&mut engine), ["want 1 high", "unwant 0"]);
    engine.set(x, Err(Fail::new("no")));
    assert_eq!(round(&mut engine), ["unwant 1"]);
    assert!(engine.is_settled());
}

#[test]
fn a_wish_is_given_up_while_its_request_is_not_known() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let first = root.ok(request("first"));
    let first = root.action(first, "first");
    let second = root.map(first, "", |_| Ok(request("second")));
    let second = root.action(second, "second");
    round(&mut engine);
    engine.deliver(WantId(0), done("first", Verdict::Pass));
    assert_eq!(round(&mut engine), ["want 1 second"]);
    engine.deliver(WantId(0), WantState::Queued);
    assert_eq!(round(&mut engine), ["unwant 1"]);
    assert_eq!(
        engine.status(second),
        Status::Ready,
        "through what is below"
    );
}

#[test]
fn a_sub_graph_is_kept_while_its_input_is_pending() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let wanted = root.ok(request("plan"));
    let plan = root.action(wanted, "plan");
    let calls = Calls::default();
    let counter = calls.clone();
    let bound = root.bind(plan, move |scope, plan| {
        counter.add();
        scope.ok(plan.wall_ms)
    });
    let names = root.map(plan, "", |plan| Ok(vec![plan.wall_ms]));
    let built = root.list_map(names, |scope, ms| {
        let wanted = scope.ok(request(&ms.to_string()));
        scope.action(wanted, "build")
    });
    round(&mut engine);
    engine.deliver(WantId(0), done("plan", Verdict::Pass));
    assert_eq!(round(&mut engine), ["want 1 7"]);
    engine.deliver(WantId(1), done("7", Verdict::Pass));
    engine.deliver(WantId(0), WantState::Running(node()));
    assert!(round(&mut engine).is_empty());
    assert_eq!(engine.status(built), Status::Running);
    engine.deliver(WantId(0), done("plan", Verdict::Pass));
    assert!(round(&mut engine).is_empty());
    assert_eq!(engine.status(built), Status::Ok);
    assert_eq!((engine.value(bound), calls.take()), (Some(&7), 1));
}

#[test]
fn files_are_provided_once_and_before_the_wish_that_names_them() {
    let bytes = b"opam-version: \"2.0\"\n".to_vec();
    let tree = Tree::of_files([("opam", BlobId::of(&bytes), bytes.len() as u64)]).unwrap();
    let with_files = move |name: &str| Request {
        provide: vec![(tree.clone(), vec![bytes.clone()])],
        ..request(name)
    };
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, wanted) = root.input::<Request>("request");
    let _ = root.action(wanted, "a");
    let also = root.ok(with_files("b"));
    let _ = root.action(also, "b");
    engine.set(x, Ok(with_files("a")));
    assert_eq!(round(&mut engine), ["provide 1", "want 0 a", "want 1 b"]);
    engine.set(x, Ok(with_files("c")));
    assert_eq!(round(&mut engine), ["want 2 c", "unwant 0"]);
}

#[test]
fn an_action_that_has_no_key_fails_and_asks_for_nothing() {
    let mut bad = request("a");
    if let Work::Run(run) = &mut bad.action.work {
        run.argv.clear();
    }
    let mut engine = Engine::default();
    let mut root = engine.root();
    let wanted = root.ok(bad);
    let built = root.action(wanted, "build");
    assert!(round(&mut engine).is_empty());
    let Status::Failed(fail) = engine.status(built) else {
        panic!("it must fail");
    };
    assert_eq!(fail.origin(), "build");
    assert!(fail.message().contains("names no command"), "{fail}");
    assert!(engine.want_of(built).is_none());
}

#[test]
fn wants_below_a_term_are_its_own_dependencies_first() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let last = root.ok(request("last"));
    let first = root.ok(request("first"));
    let other = root.ok(request("other"));
    let other = root.action(other, "other");
    let first = root.action(first, "first");
    let last = root.gate(first, last);
    let last = root.action(last, "last");
    round(&mut engine);
    assert_eq!(engine.wants_below(last), [WantId(1)]);
    engine.deliver(WantId(1), done("first", Verdict::Pass));
    assert_eq!(round(&mut engine), ["want 2 last"]);
    assert_eq!(engine.wants_below(last), [WantId(1), WantId(2)]);
    assert_eq!(engine.wants_below(other), [WantId(0)]);
}

#[test]
fn a_report_of_an_unknown_wish_does_nothing() {
    let (mut engine, _, _) = asking();
    engine.stabilise();
    engine.deliver(WantId(99), done("a", Verdict::Pass));
    assert!(round(&mut engine).is_empty());
    assert_eq!(engine.stats().recomputed, 0);
}

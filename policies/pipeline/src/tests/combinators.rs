use super::*;

#[test]
fn an_input_is_blocked_until_it_is_set() {
    let mut engine = Engine::default();
    let (x, term) = engine.root().input::<i32>("x");
    engine.stabilise();
    assert_eq!(engine.status(term), Status::Blocked);
    engine.set(x, Ok(3));
    assert_eq!(engine.value(term), None, "changes wait for the round");
    engine.stabilise();
    assert_eq!(engine.value(term), Some(&3));
    assert_eq!(engine.status(term), Status::Ok);
}

#[test]
fn the_last_setting_before_a_round_counts() {
    let mut engine = Engine::default();
    let (x, term) = engine.root().input::<i32>("x");
    engine.set(x, Ok(3));
    engine.set(x, Err(Fail::new("no")));
    engine.set(x, Ok(4));
    engine.stabilise();
    assert_eq!(engine.value(term), Some(&4));
    assert_eq!(engine.stats().recomputed, 1);
}

#[test]
fn constants_have_their_value_without_a_round() {
    let mut engine = Engine::default();
    let good = engine.root().ok(1);
    let bad = engine.root().fail::<i32>("never");
    assert_eq!(engine.value(good), Some(&1));
    assert_eq!(engine.status(bad), Status::Failed(Fail::new("never")));
}

#[test]
fn map_computes_and_fails_under_its_own_label() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let half = root.map(term, "half", |x| {
        if x % 2 == 0 {
            Ok(x / 2)
        } else {
            Err(Fail::new(format!("{x} is odd")))
        }
    });
    let next = root.map(half, "next", |x| Ok(x + 1));
    engine.set(x, Ok(8));
    engine.stabilise();
    assert_eq!(engine.value(next), Some(&5));
    engine.set(x, Ok(7));
    engine.stabilise();
    let fail = Fail::new("7 is odd").at("half");
    assert_eq!(engine.status(next), Status::Failed(fail.clone()));
    assert_eq!(fail.to_string(), "half: 7 is odd");
    engine.set(x, Err(Fail::new("gone")));
    engine.stabilise();
    assert_eq!(
        engine.status(next),
        Status::Failed(Fail::new("gone").at("x"))
    );
}

#[test]
fn a_failed_constant_takes_the_label_that_it_is_first_seen_under() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let bad = root.fail::<i32>("no compiler");
    let good = root.ok(1);
    let both = root.pair(good, bad);
    let plan = root.map(both, "plan", |_| Ok(()));
    let run = root.map(plan, "run", |()| Ok(()));
    engine.stabilise();
    assert_eq!(
        engine.status(run),
        Status::Failed(Fail::new("no compiler").at("plan"))
    );
}

#[test]
fn pair_and_all_wait_for_every_input_but_not_past_a_failure() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (a, ta) = root.input::<i32>("a");
    let (b, tb) = root.input::<i32>("b");
    let pair = root.pair(ta, tb);
    let all = root.all(vec![ta, tb, ta]);
    engine.set(b, Err(Fail::new("bad b")));
    engine.stabilise();
    let fail = Status::Failed(Fail::new("bad b").at("b"));
    assert_eq!(engine.status(pair), fail);
    assert_eq!(engine.status(all), fail);
    engine.set(b, Ok(2));
    engine.stabilise();
    assert_eq!(engine.status(pair), Status::Blocked);
    assert_eq!(engine.status(all), Status::Blocked);
    engine.set(a, Ok(1));
    engine.stabilise();
    assert_eq!(engine.value(pair), Some(&(1, 2)));
    assert_eq!(engine.value(all), Some(&vec![1, 2, 1]));
}

#[test]
fn the_first_of_several_failures_is_named() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (a, ta) = root.input::<i32>("a");
    let (b, tb) = root.input::<i32>("b");
    let all = root.all(vec![ta, tb]);
    engine.set(b, Err(Fail::new("bad b")));
    engine.set(a, Err(Fail::new("bad a")));
    engine.stabilise();
    assert_eq!(
        engine.status(all),
        Status::Failed(Fail::new("bad a").at("a"))
    );
}

#[test]
fn all_of_nothing_is_an_empty_list() {
    let mut engine = Engine::default();
    let all = engine.root().all(Vec::<Term<i32>>::new());
    engine.stabilise();
    assert_eq!(engine.value(all), Some(&Vec::new()));
}

#[test]
fn gate_opens_with_its_control_and_fails_with_it() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (on, control) = root.input::<()>("on");
    let (x, term) = root.input::<i32>("x");
    let gated = root.gate(control, term);
    engine.set(x, Ok(1));
    engine.stabilise();
    assert_eq!(engine.status(gated), Status::Blocked);
    engine.set(on, Ok(()));
    engine.stabilise();
    assert_eq!(engine.value(gated), Some(&1));
    engine.set(on, Err(Fail::new("lint")));
    engine.stabilise();
    assert_eq!(
        engine.status(gated),
        Status::Failed(Fail::new("lint").at("on"))
    );
}

#[test]
fn catch_makes_a_value_of_a_failure_and_waits_while_pending() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let caught = root.catch(term);
    engine.stabilise();
    assert_eq!(engine.status(caught), Status::Blocked);
    engine.set(x, Err(Fail::new("no")));
    engine.stabilise();
    assert_eq!(engine.value(caught), Some(&Err(Fail::new("no").at("x"))));
    engine.set(x, Ok(2));
    engine.stabilise();
    assert_eq!(engine.value(caught), Some(&Ok(2)));
}

#[test]
fn state_sees_through_to_what_is_under_way_below() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (go, request) = root.input::<Request>("request");
    let built = root.action(request, "build");
    let size = root.map(built, "size", |outcome| Ok(outcome.wall_ms));
    let state = root.state(size);
    let seen = |engine: &mut Engine| {
        engine.stabilise();
        engine.value(state).cloned().unwrap()
    };
    assert_eq!(seen(&mut engine), Status::Blocked);
    engine.set(go, Ok(super::request("a")));
    assert_eq!(seen(&mut engine), Status::Ready);
    engine.deliver(WantId(0), WantState::Running(node()));
    assert_eq!(seen(&mut engine), Status::Running);
    let shown = |engine: &Engine| engine.terms().iter().map(|t| t.state).collect::<Vec<_>>();
    assert_eq!(shown(&engine), [State::Ok, State::Running, State::Blocked]);
    engine.deliver(WantId(0), done("a", Verdict::Fail));
    let Status::Failed(fail) = seen(&mut engine) else {
        panic!("it must fail");
    };
    assert_eq!(fail.to_string(), "build: a broke");
    engine.deliver(WantId(0), done("a", Verdict::Pass));
    assert_eq!(seen(&mut engine), Status::Ok);
    assert!(seen(&mut engine).is_final());
}

#[test]
fn an_equal_value_stops_the_wave() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let sign = root.map(term, "sign", |x| Ok(x.signum()));
    let calls = Calls::default();
    let counter = calls.clone();
    let text = root.map(sign, "text", move |sign| {
        counter.add();
        Ok(sign.to_string())
    });
    engine.set(x, Ok(5));
    engine.stabilise();
    assert_eq!((calls.take(), engine.stats().recomputed), (1, 3));
    engine.set(x, Ok(9));
    engine.stabilise();
    assert_eq!((calls.take(), engine.stats().recomputed), (0, 2));
    engine.set(x, Ok(9));
    engine.stabilise();
    assert_eq!((calls.take(), engine.stats().recomputed), (0, 1));
    engine.stabilise();
    assert_eq!(engine.stats().recomputed, 0);
    assert_eq!(engine.value(text).map(String::as_str), Some("1"));
}

#[test]
fn a_diamond_is_computed_once_from_one_state() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let left = root.map(term, "left", |x| Ok(x + 1));
    let right = root.map(left, "r1", |x| Ok(*x));
    let right = root.map(right, "r2", |x| Ok(-x));
    let both = root.pair(left, right);
    let calls = Calls::default();
    let counter = calls.clone();
    let sum = root.map(both, "sum", move |(a, b)| {
        counter.add();
        assert_eq!(a + b, 0, "old and new values are mixed");
        Ok(())
    });
    for value in 0..5 {
        engine.set(x, Ok(value));
        engine.stabilise();
        assert_eq!(engine.status(sum), Status::Ok);
    }
    assert_eq!(calls.take(), 5);
}

#[test]
fn an_engine_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Engine>();
}

#[test]
fn of_several_pending_inputs_the_furthest_counts() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (_, unset) = root.input::<Outcome>("unset");
    let mut terms = Vec::new();
    for name in ["a", "b", "c"] {
        let wanted = root.ok(request(name));
        terms.push(root.action(wanted, name));
    }
    terms.push(unset);
    let all = root.all(terms);
    engine.stabilise();
    assert_eq!(engine.status(all), Status::Ready);
    engine.deliver(WantId(1), WantState::Running(node()));
    engine.stabilise();
    assert_eq!(engine.status(all), Status::Running);
}

use std::sync::Mutex;

use super::*;

#[test]
fn bind_follows_its_input_and_keeps_what_an_equal_value_made() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let sign = root.map(term, "sign", |x| Ok(x.signum()));
    let calls = Calls::default();
    let counter = calls.clone();
    let bound = root.bind(sign, move |scope, sign| {
        counter.add();
        let sign = *sign;
        let times = scope.map(term, "times", move |x| Ok(x * sign));
        scope.map(times, "plus", |x| Ok(x + 1))
    });
    engine.stabilise();
    assert_eq!(engine.status(bound), Status::Blocked);
    engine.set(x, Ok(-4));
    engine.stabilise();
    assert_eq!((engine.value(bound), calls.take()), (Some(&5), 1));
    let nodes = engine.stats().nodes;
    engine.set(x, Ok(-6));
    engine.stabilise();
    assert_eq!((engine.value(bound), calls.take()), (Some(&7), 0));
    engine.set(x, Ok(6));
    engine.stabilise();
    assert_eq!((engine.value(bound), calls.take()), (Some(&7), 1));
    assert_eq!(engine.stats().nodes, nodes, "the old sub-graph is gone");
}

#[test]
fn bind_fails_with_its_input_and_leaves_nothing_behind() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let bound = root.bind(term, |scope, x| {
        let x = scope.ok(*x);
        scope.map(x, "inside", |x| Ok(*x))
    });
    let before = engine.stats().nodes;
    engine.set(x, Ok(1));
    engine.stabilise();
    assert_eq!(engine.value(bound), Some(&1));
    engine.set(x, Err(Fail::new("no")));
    engine.stabilise();
    assert_eq!(
        engine.status(bound),
        Status::Failed(Fail::new("no").at("x"))
    );
    assert_eq!(engine.stats().nodes, before);
    engine.set(x, Ok(1));
    engine.stabilise();
    assert_eq!(engine.value(bound), Some(&1));
}

#[test]
fn bind_may_choose_among_terms_from_outside() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (a, ta) = root.input::<i32>("a");
    let (b, tb) = root.input::<i32>("b");
    let (which, choice) = root.input::<bool>("which");
    let chosen = root.bind(choice, move |_, first| if *first { ta } else { tb });
    let calls = Calls::default();
    let counter = calls.clone();
    let result = root.map(chosen, "result", move |x| {
        counter.add();
        Ok(*x)
    });
    engine.set(a, Ok(1));
    engine.set(b, Ok(2));
    engine.set(which, Ok(true));
    engine.stabilise();
    assert_eq!((engine.value(result), calls.take()), (Some(&1), 1));
    engine.set(b, Ok(3));
    engine.stabilise();
    assert_eq!(calls.take(), 0, "what is not chosen reaches nothing");
    engine.set(a, Ok(9));
    engine.set(which, Ok(false));
    engine.stabilise();
    assert_eq!((engine.value(result), calls.take()), (Some(&3), 1));
}

#[test]
fn what_a_function_made_never_sees_a_value_that_it_was_not_made_for() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let direct = root.map(term, "direct", |x| Ok(*x));
    let slow = (0..10).fold(term, |term, _| root.map(term, "", |x| Ok(*x)));
    // The input of the bind is far higher than what is read inside of it.
    let bound = root.bind(slow, move |scope, made_for| {
        let made_for = *made_for;
        let inner = scope.bind(direct, move |scope, x| scope.ok(*x));
        scope.map(inner, "inside", move |x| {
            assert_eq!(*x, made_for, "an outdated sub-graph was computed");
            Ok(*x)
        })
    });
    let both = root.pair(bound, direct);
    let calls = Calls::default();
    let counter = calls.clone();
    let same = root.map(both, "same", move |(a, b)| {
        counter.add();
        assert_eq!(a, b, "old and new values are mixed");
        Ok(*a)
    });
    for value in 0..6 {
        engine.set(x, Ok(value));
        engine.stabilise();
        assert_eq!((engine.value(same), calls.take()), (Some(&value), 1));
    }
}

#[test]
fn a_taller_result_lifts_its_readers_and_what_they_made() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<usize>("x");
    let tower = root.bind(term, |scope, height| {
        let ground = scope.ok(0);
        (0..*height).fold(ground, |term, _| scope.map(term, "", |x| Ok(x + 1)))
    });
    // Keys that stay, so that what was made for them is lifted and not made anew.
    let keys = root.map(tower, "", |height| Ok(vec![height % 2, 2]));
    let above = root.list_map(keys, move |scope, key| {
        let key = *key;
        scope.map(tower, "", move |height| Ok((key, *height)))
    });
    for height in [1, 51, 3, 201, 200] {
        engine.set(x, Ok(height));
        engine.stabilise();
        assert_eq!(engine.value(tower), Some(&height));
        let expected = vec![(height % 2, height), (2, height)];
        assert_eq!(engine.value(above), Some(&expected));
    }
}

#[test]
fn list_map_makes_new_keys_only_and_disposes_vanished_ones() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (list, keys) = root.input::<Vec<&'static str>>("keys");
    let made = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&made);
    let lengths = root.list_map(keys, move |scope, key| {
        log.lock().unwrap().push(*key);
        scope.ok(key.len())
    });
    let mut step = |keys: &[&'static str]| {
        engine.set(list, Ok(keys.to_vec()));
        engine.stabilise();
        let value = engine.value(lengths).cloned().unwrap();
        (
            value,
            std::mem::take(&mut *made.lock().unwrap()),
            engine.stats().nodes,
        )
    };
    assert_eq!(step(&["a", "bb"]), (vec![1, 2], vec!["a", "bb"], 5));
    assert_eq!(step(&["bb", "ccc", "a"]), (vec![2, 3, 1], vec!["ccc"], 6));
    assert_eq!(step(&["ccc"]), (vec![3], vec![], 4));
    assert_eq!(step(&["a", "a"]), (vec![1, 1], vec!["a"], 4));
    assert_eq!(step(&[]), (vec![], vec![], 3));
}

#[test]
fn list_map_fails_with_a_key_and_recovers_when_it_vanishes() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (list, keys) = root.input::<Vec<i32>>("keys");
    let checked = root.list_map(keys, |scope, key| {
        let key = *key;
        let term = scope.ok(key);
        scope.map(term, &format!("check {key}"), |key| {
            if *key < 0 {
                Err("negative".into())
            } else {
                Ok(*key)
            }
        })
    });
    engine.set(list, Ok(vec![1, -2, -3]));
    engine.stabilise();
    assert_eq!(
        engine.status(checked),
        Status::Failed(Fail::new("negative").at("check -2"))
    );
    engine.set(list, Ok(vec![1]));
    engine.stabilise();
    assert_eq!(engine.value(checked), Some(&vec![1]));
}

#[test]
fn changing_one_key_of_a_thousand_costs_the_same_as_of_ten() {
    let cost = |count: i64| {
        let mut engine = Engine::default();
        let mut root = engine.root();
        let (list, keys) = root.input::<Vec<i64>>("keys");
        let squares = root.list_map(keys, |scope, key| {
            let key = scope.ok(*key);
            let square = scope.map(key, "square", |key| Ok(key * key));
            scope.map(square, "next", |square| Ok(square + 1))
        });
        let sum = root.map(squares, "sum", |all| Ok(all.iter().sum::<i64>()));
        let mut keys: Vec<i64> = (0..count).collect();
        engine.set(list, Ok(keys.clone()));
        engine.stabilise();
        let all = engine.stats().recomputed;
        assert!(all > 2 * usize::try_from(count).unwrap());
        let before = *engine.value(sum).unwrap();
        keys[3] = 1_000_000;
        engine.set(list, Ok(keys));
        engine.stabilise();
        assert_eq!(*engine.value(sum).unwrap() - before, 1_000_000_000_000 - 9);
        engine.stats().recomputed
    };
    // The input, the function, the two new terms, the join, the sum.
    assert_eq!(cost(1000), 6);
    assert_eq!(cost(10), 6);
}

#[test]
fn changing_one_input_of_a_thousand_reaches_its_own_branch() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let mut branches = Vec::new();
    for _ in 0..1000 {
        let (input, term) = root.input::<i64>("x");
        let a = root.map(term, "a", |x| Ok(x + 1));
        branches.push((input, root.map(a, "b", |x| Ok(x * 2))));
    }
    let ends = branches.iter().map(|(_, end)| *end).collect();
    let all = root.all(ends);
    for (input, _) in &branches {
        engine.set(*input, Ok(1));
    }
    engine.stabilise();
    assert_eq!(engine.stats().recomputed, 3001);
    engine.set(branches[7].0, Ok(2));
    engine.stabilise();
    assert_eq!(engine.stats().recomputed, 4);
    assert_eq!(engine.value(all).unwrap()[7], 6);
}

#[test]
fn nested_functions_go_with_the_outer_value() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (outer, ta) = root.input::<i32>("outer");
    let (inner, tb) = root.input::<Vec<i32>>("inner");
    let bound = root.bind(ta, move |scope, a| {
        let a = *a;
        scope.list_map(tb, move |scope, b| {
            let sum = scope.ok(a + b);
            scope.bind(sum, |scope, sum| scope.ok(*sum))
        })
    });
    engine.set(inner, Ok(vec![1, 2]));
    engine.set(outer, Ok(10));
    engine.stabilise();
    assert_eq!(engine.value(bound), Some(&vec![11, 12]));
    let nodes = engine.stats().nodes;
    engine.set(outer, Ok(20));
    engine.set(inner, Ok(vec![2, 3]));
    engine.stabilise();
    assert_eq!(engine.value(bound), Some(&vec![22, 23]));
    assert_eq!(engine.stats().nodes, nodes);
}

#[test]
fn a_term_that_is_the_value_of_a_term_can_be_followed() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let inner = root.bind(term, |scope, x| {
        let x = scope.ok(*x);
        let twice = scope.map(x, "twice", |x| Ok(x * 2));
        scope.ok(twice)
    });
    let flat = root.bind(inner, |_, term| *term);
    for value in [1, 2, 3] {
        engine.set(x, Ok(value));
        engine.stabilise();
        assert_eq!(engine.value(flat), Some(&(2 * value)));
    }
}

#[test]
fn a_reader_of_a_disposed_term_fails_instead_of_keeping_its_value() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let leaked = Arc::new(Mutex::new(None));
    let leak = Arc::clone(&leaked);
    let bound = root.bind(term, move |scope, x| {
        let term = scope.ok(*x);
        leak.lock().unwrap().get_or_insert(term);
        term
    });
    engine.set(x, Ok(1));
    engine.stabilise();
    let stolen = leaked.lock().unwrap().unwrap();
    let reader = engine.root().map(stolen, "thief", |x| Ok(*x));
    engine.stabilise();
    assert_eq!(engine.value(reader), Some(&1));
    engine.set(x, Ok(2));
    engine.stabilise();
    assert_eq!(engine.value(bound), Some(&2));
    let Status::Failed(fail) = engine.status(reader) else {
        panic!("it must notice");
    };
    assert_eq!(
        fail.to_string(),
        "thief: a term is used whose sub-graph is gone"
    );
}

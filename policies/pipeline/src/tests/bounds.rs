use std::sync::Mutex;

use super::*;

fn engine(nodes: usize, depth: u32) -> Engine {
    Engine::new(Limits { nodes, depth })
}

#[test]
fn terms_beyond_the_limit_fail_and_say_so() {
    let mut engine = engine(4, 8);
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let a = root.map(term, "a", |x| Ok(*x));
    let b = root.map(a, "b", |x| Ok(*x));
    let c = root.map(b, "c", |x| Ok(*x));
    let bound = root.bind(c, |scope, x| scope.ok(*x));
    let (beyond, _) = root.input::<i32>("beyond");
    engine.set(x, Ok(1));
    engine.set(beyond, Ok(1));
    engine.stabilise();
    assert_eq!(engine.value(b), Some(&1));
    for status in [engine.status(c), engine.status(bound)] {
        let Status::Failed(fail) = status else {
            panic!("it must fail");
        };
        assert!(fail.message().contains("more than 4 terms"), "{fail}");
    }
    assert_eq!(engine.stats().nodes, 3);
}

#[test]
fn a_list_too_long_for_the_limit_fails_and_a_shorter_one_works_again() {
    let mut engine = engine(20, 8);
    let mut root = engine.root();
    let (list, keys) = root.input::<Vec<u32>>("keys");
    let all = root.list_map(keys, |scope, key| scope.ok(*key));
    engine.set(list, Ok((0..100).collect()));
    engine.stabilise();
    assert!(matches!(engine.status(all), Status::Failed(_)));
    assert!(engine.stats().nodes < 20);
    engine.set(list, Ok((200..210).collect()));
    engine.stabilise();
    assert_eq!(engine.value(all).map(Vec::len), Some(10));
}

#[test]
fn endless_nesting_ends_in_a_failure() {
    fn deeper(scope: &mut Scope<'_>, n: Term<u32>) -> Term<u32> {
        scope.bind(n, |scope, n| {
            let more = scope.ok(n + 1);
            deeper(scope, more)
        })
    }
    let mut engine = engine(10_000, 30);
    let mut root = engine.root();
    let zero = root.ok(0);
    let end = deeper(&mut root, zero);
    engine.stabilise();
    let Status::Failed(fail) = engine.status(end) else {
        panic!("it must fail");
    };
    assert!(fail.message().contains("nested deeper than 30"), "{fail}");
}

#[test]
fn nesting_within_the_limit_works() {
    fn down(scope: &mut Scope<'_>, n: Term<u32>) -> Term<u32> {
        scope.bind(n, |scope, n| {
            let less = scope.ok(n.saturating_sub(1));
            if *n == 0 { less } else { down(scope, less) }
        })
    }
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (start, n) = root.input("n");
    let end = down(&mut root, n);
    engine.set(start, Ok(200));
    engine.stabilise();
    assert_eq!(engine.value(end), Some(&0));
}

#[test]
fn a_function_whose_result_reads_itself_fails() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let own = Arc::new(Mutex::new(None::<Term<i32>>));
    let seen = Arc::clone(&own);
    let bound = root.bind(term, move |scope, x| {
        let own = seen.lock().unwrap().unwrap();
        match x {
            0 => own,
            1 => scope.map(own, "around", |x| Ok(*x)),
            _ => scope.ok(*x),
        }
    });
    let reader = root.map(bound, "reader", |x| Ok(*x));
    *own.lock().unwrap() = Some(bound);
    for value in [2, 1, 3, 0, 4] {
        engine.set(x, Ok(value));
        engine.stabilise();
        match engine.status(reader) {
            Status::Ok => assert_eq!(engine.value(reader), Some(&value)),
            Status::Failed(fail) => {
                assert!(value < 2, "{fail}");
                assert!(fail.message().contains("reads the function's own result"));
            }
            other => panic!("{other:?}"),
        }
        engine.check();
    }
}

/// The first of two functions reads the second one's result, directly or through a term of its
/// own, while the second reads the first one's.
fn around(direct: bool) {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<bool>("x");
    let one = root.ok(1);
    let later = Arc::new(Mutex::new(one));
    let seen = Arc::clone(&later);
    let first = root.bind(term, move |scope, around| {
        let other = *seen.lock().unwrap();
        let other = if *around { other } else { one };
        if direct {
            other
        } else {
            scope.map(other, "first", |x| Ok(*x))
        }
    });
    let tall = (0..5).fold(first, |term, _| root.map(term, "", |x| Ok(*x)));
    let second = root.bind(term, move |scope, _| {
        scope.map(tall, "second", |x| Ok(x + 1))
    });
    *later.lock().unwrap() = second;
    for around in [false, true, false, true] {
        engine.set(x, Ok(around));
        engine.stabilise();
        assert_eq!(engine.value(second).copied(), (!around).then_some(2));
    }
}

#[test]
fn two_functions_that_read_each_other_fail_and_recover() {
    around(false);
    around(true);
}

#[test]
fn a_refused_circle_leaves_the_heights_as_they_were() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (flag, choice) = root.input::<bool>("flag");
    let one = root.ok(1);
    let later = Arc::new(Mutex::new(one));
    let seen = Arc::clone(&later);
    let first = root.bind(
        choice,
        move |_, around| {
            if *around { *seen.lock().unwrap() } else { one }
        },
    );
    let end = (0..3).fold(first, |term, _| root.map(term, "", |x| Ok(*x)));
    *later.lock().unwrap() = end;
    for around in [false, true, false] {
        engine.set(flag, Ok(around));
        engine.stabilise();
        engine.check();
        assert_eq!(engine.value(end).copied(), (!around).then_some(1));
    }
}

#[test]
fn a_term_of_another_engine_fails_where_its_type_is_wrong() {
    let mut other = Engine::default();
    let (_, text) = other.root().input::<String>("text");
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, _) = root.input::<i32>("x");
    let length = root.map(text, "length", |text| Ok(text.len()));
    let bound = root.bind(text, |scope, text| scope.ok(text.len()));
    engine.set(x, Ok(1));
    engine.stabilise();
    for status in [engine.status(length), engine.status(bound)] {
        let Status::Failed(fail) = status else {
            panic!("it must fail");
        };
        assert!(fail.message().contains("another engine"), "{fail}");
    }
    assert_eq!(engine.value(text), None);
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let fail = Fail::new("é".repeat(10_000)).at(&"ü".repeat(1000));
    assert!(fail.message().len() <= limits::MESSAGE_BYTES_MAX);
    assert!(fail.origin().len() <= limits::LABEL_BYTES_MAX);
    let mut engine = Engine::default();
    let (_, _) = engine.root().input::<i32>(&"ü".repeat(1000));
    assert!(engine.terms()[0].label.len() <= limits::LABEL_BYTES_MAX);
}

#[test]
fn a_chain_of_a_hundred_thousand_terms_needs_no_deep_stack() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<u64>("x");
    let end = (0..100_000).fold(term, |term, _| root.map(term, "", |x| Ok(x + 1)));
    let end = root.show(end, "end");
    engine.set(x, Ok(1));
    engine.stabilise();
    assert_eq!(engine.value(end), Some(&100_001));
    assert_eq!(engine.text(), "end [ok]\n  x [ok]\n");
    assert!(engine.wants_below(end).is_empty());
}

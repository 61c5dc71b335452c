//! Whatever is printed reads back to the same, and whatever is read ends in a value or an error.

use proptest::prelude::*;

use super::{Copy, Dockerfile, Escape, Image, Mount, Name, Op, Run, Source, Spec, User};

/// Texts with all that makes printing and reading hard.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z/.=-]{1,12}",
        1 => Just("\n".to_owned()),
        1 => Just("\\\n".to_owned()),
        1 => Just(" ".to_owned()),
        1 => Just("#|".to_owned()),
        1 => Just("|#".to_owned()),
        2 => "[\"\\\\();|#\t\r\u{b}\u{7f}\u{8}]{1,3}",
        1 => "[0-9xn]{1,4}",
        1 => "[\u{80}-\u{2ff}\u{1f600}]{1,3}",
        1 => "[a-z]{40,90}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..5)
}

fn mounts() -> impl Strategy<Value = Vec<Mount>> {
    let options = prop::collection::vec((text(), text()), 0..3);
    let mount = (text(), text(), options).prop_filter_map("a short id", |(id, target, options)| {
        let mut mount = Mount::cache(id, target);
        mount.buildkit_options = options;
        (mount.id.len() <= 255).then_some(mount)
    });
    prop::collection::vec(mount, 0..3)
}

fn op(scope: Vec<Name>) -> impl Strategy<Value = Op> {
    let source = match scope.len() {
        0 => Just(Source::Context).boxed(),
        _ => prop_oneof![
            Just(Source::Context),
            prop::sample::select(scope).prop_map(Source::Build)
        ]
        .boxed(),
    };
    prop_oneof![
        text().prop_map(Op::Comment),
        text().prop_map(Op::Workdir),
        texts().prop_map(Op::Shell),
        (text(), text()).prop_map(|(name, value)| Op::Env(name, value)),
        text().prop_map(|name| Op::User(User::Named(name))),
        (0..=User::ID_MAX, 0..=User::ID_MAX)
            .prop_map(|(uid, gid)| Op::User(User::Unix { uid, gid })),
        (mounts(), texts(), mounts(), text()).prop_map(|(cache, network, secrets, shell)| {
            Op::Run(Run {
                cache,
                network,
                secrets,
                shell,
            })
        }),
        (source, texts(), text(), texts()).prop_map(|(from, src, dst, exclude)| Op::Copy(Copy {
            from,
            src,
            dst,
            exclude
        })),
    ]
}

fn name() -> impl Strategy<Value = Name> {
    text().prop_filter_map("a short name", |text| {
        Name::new(text.chars().take(40).collect::<String>()).ok()
    })
}

fn spec(depth: u32, scope: Vec<Name>) -> BoxedStrategy<Spec> {
    let children = if depth == 0 {
        Just(Vec::new()).boxed()
    } else {
        let scope = scope.clone();
        prop::collection::vec(name(), 0..3)
            .prop_flat_map(move |names| {
                let mut scope = scope.clone();
                let mut children = Vec::new();
                for name in names {
                    children.push((Just(name.clone()), spec(depth - 1, scope.clone())));
                    scope.push(name);
                }
                children
            })
            .boxed()
    };
    children
        .prop_flat_map(move |children| {
            let mut scope = scope.clone();
            scope.extend(children.iter().map(|(name, _)| name.clone()));
            let ops = prop::collection::vec(op(scope), 0..5);
            let from = text().prop_filter_map("an image", |text| Image::new(text).ok());
            (Just(children), from, ops)
        })
        // Not `Spec::new`: an inner build is whole only within its spec.
        .prop_map(|(child_builds, from, ops)| Spec {
            child_builds,
            from,
            ops,
        })
        .boxed()
}

proptest! {
    #[test]
    fn printed_spec_reads_back_to_itself(spec in spec(3, Vec::new())) {
        let printed = spec.to_string();
        let again = Spec::parse(printed.as_bytes());
        prop_assert_eq!(again.as_ref(), Ok(&spec), "{}", printed);
        prop_assert_eq!(again.unwrap().to_string(), printed);
        let same = Spec::new(spec.child_builds.clone(), spec.from.clone(), spec.ops.clone());
        prop_assert_eq!(same, Ok(spec.clone()));
        for escape in [Escape::Unix, Escape::Windows] {
            let form = Dockerfile { buildkit: false, escape };
            prop_assert!(spec.to_dockerfile(form).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Spec::parse(&bytes);
    }

    #[test]
    fn near_misses_are_read_or_refused(
        text in "(\\(|\\)|\"|\\\\|#|;|\\||\n|\r| |from|run|shell|build|copy|src|x|1){0,80}",
    ) {
        let text = format!("((from x) (run (shell {text})))");
        if let Ok(spec) = Spec::parse(text.as_bytes()) {
            prop_assert_eq!(Spec::parse(spec.to_string().as_bytes()), Ok(spec));
        }
    }

    #[test]
    fn spec_cut_anywhere_is_refused(spec in spec(1, Vec::new()), cut in any::<prop::sample::Index>()) {
        let printed = spec.to_string();
        let cut = cut.index(printed.len());
        prop_assert!(Spec::parse(&printed.as_bytes()[..cut]).is_err());
    }
}

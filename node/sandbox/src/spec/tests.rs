use super::*;

fn spec() -> Spec {
    let [store, upper, work] = ["/store", "u", "w"].map(PathBuf::from);
    let root = Root {
        store,
        lowers: vec!["base".into()],
        upper,
        work,
    };
    Spec::new("job-1".parse().unwrap(), root, vec!["true".to_owned()])
}

fn refused(change: impl FnOnce(&mut Spec)) -> SpecError {
    let mut spec = spec();
    change(&mut spec);
    spec.check().unwrap_err()
}

#[test]
fn a_usual_spec_passes() {
    spec().check().unwrap();
}

#[test]
fn a_job_s_name_is_short_and_plain() {
    for good in ["a", "job-7", &"x".repeat(64)] {
        good.parse::<JobName>().unwrap();
    }
    for bad in ["", "A", "a/b", "..", "a.b", "a\0", "é", &"x".repeat(65)] {
        assert!(
            matches!(bad.parse::<JobName>(), Err(SpecError::Name(_))),
            "{bad:?}"
        );
        let text = serde_json::to_string(bad).unwrap();
        assert!(serde_json::from_str::<JobName>(&text).is_err(), "{bad:?}");
    }
}

#[test]
fn a_nul_byte_is_refused_wherever_it_hides() {
    assert!(matches!(
        refused(|s| s.argv.push("a\0b".into())),
        SpecError::Nul(_)
    ));
    assert!(matches!(
        refused(|s| s.env.push(("A".into(), "\0".into()))),
        SpecError::Nul(_)
    ));
    assert!(matches!(
        refused(|s| s.env.push(("A\0".into(), "".into()))),
        SpecError::Nul(_)
    ));
    assert!(matches!(
        refused(|s| s.cwd = "/a\0".into()),
        SpecError::Nul(_)
    ));
    assert!(matches!(
        refused(|s| s.root.lowers.push("a\0".into())),
        SpecError::Nul(_)
    ));
}

#[test]
fn a_path_that_could_lead_elsewhere_is_refused() {
    let bad_layers = ["", ".", "..", "/etc", "a/../b", "a//b", "a/", "./a", "a/."];
    for bad in bad_layers {
        let got = refused(|s| s.root.lowers.push(bad.into()));
        assert!(
            matches!(got, SpecError::Path { what: "layer", .. }),
            "{bad:?} {got}"
        );
    }
    for bad in ["", "relative", "/a/../b", "/a/.", "//a", "/a/"] {
        let got = refused(|s| s.cwd = bad.into());
        assert!(
            matches!(
                got,
                SpecError::Path {
                    what: "working directory",
                    ..
                }
            ),
            "{bad:?}"
        );
        let bind = Bind {
            source: "/x".into(),
            target: bad.into(),
            read_only: true,
        };
        let got = refused(|s| s.binds.push(bind));
        assert!(
            matches!(
                got,
                SpecError::Path {
                    what: "bind target",
                    ..
                }
            ),
            "{bad:?}"
        );
    }
}

#[test]
fn a_bind_cannot_cover_what_protects_the_host() {
    for bad in ["/", "/proc", "/proc/sys/kernel", "/sys/fs", "/dev/null"] {
        let bind = Bind {
            source: "/x".into(),
            target: bad.into(),
            read_only: false,
        };
        let got = refused(|s| s.binds.push(bind));
        assert!(
            matches!(
                got,
                SpecError::Path {
                    what: "bind target",
                    ..
                }
            ),
            "{bad:?}"
        );
    }
}

#[test]
fn upper_and_work_cannot_be_one_or_inside_each_other() {
    for (upper, work) in [("u", "u"), ("u", "u/w"), ("w/u", "w"), ("/store/u", "u/w")] {
        let got = refused(|s| (s.root.upper, s.root.work) = (upper.into(), work.into()));
        assert!(
            matches!(
                got,
                SpecError::Path {
                    what: "work directory",
                    ..
                }
            ),
            "{upper} {work}"
        );
    }
}

#[test]
fn users_inside_are_few() {
    assert!(matches!(
        refused(|s| s.uid = 65_536),
        SpecError::Number { what: "uid", .. }
    ));
    assert!(matches!(
        refused(|s| s.gid = u32::MAX),
        SpecError::Number { what: "gid", .. }
    ));
}

#[test]
fn every_list_is_bounded() {
    assert!(matches!(
        refused(|s| s.root.lowers = vec!["a".into(); LOWERS_MAX + 1]),
        SpecError::TooMany { what: "layers", .. }
    ));
    assert!(matches!(
        refused(|s| s.argv = vec!["a".into(); ARGS_MAX + 1]),
        SpecError::TooMany {
            what: "arguments",
            ..
        }
    ));
    let bind = Bind {
        source: "/x".into(),
        target: "/y".into(),
        read_only: true,
    };
    assert!(matches!(
        refused(|s| s.binds = vec![bind; BINDS_MAX + 1]),
        SpecError::TooMany { what: "binds", .. }
    ));
}

#[test]
fn limits_that_nothing_could_run_under_are_refused() {
    assert!(matches!(
        refused(|s| s.limits.memory_bytes = 0),
        SpecError::Number { .. }
    ));
    assert!(matches!(
        refused(|s| s.limits.pids = 1),
        SpecError::Number { .. }
    ));
    assert!(matches!(
        refused(|s| s.limits.wall_ms = 0),
        SpecError::Number { .. }
    ));
    assert!(matches!(
        refused(|s| s.limits.cpu_millis = Some(0)),
        SpecError::Number { .. }
    ));
    assert!(matches!(
        refused(|s| s.hostname = "a b".into()),
        SpecError::Hostname(_)
    ));
    assert!(matches!(
        refused(|s| s.env.push(("A=B".into(), "".into()))),
        SpecError::Variable(_)
    ));
    assert!(matches!(
        refused(|s| s.argv.clear()),
        SpecError::EmptyCommand
    ));
}

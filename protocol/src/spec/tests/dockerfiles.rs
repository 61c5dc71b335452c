//! Golden Dockerfiles: what OBuilder writes for the same specs, byte by byte.

use super::{Dockerfile, Escape, Problem, parse};

const PLAIN: Dockerfile = Dockerfile {
    buildkit: false,
    escape: Escape::Unix,
};
const BUILDKIT: Dockerfile = Dockerfile {
    buildkit: true,
    ..PLAIN
};
const WINDOWS: Dockerfile = Dockerfile {
    escape: Escape::Windows,
    ..PLAIN
};

#[track_caller]
fn converts(form: Dockerfile, text: &str, expected: &str) {
    assert_eq!(parse(text).to_dockerfile(form).unwrap(), expected);
}

#[test]
fn ops_become_instructions() {
    converts(
        PLAIN,
        r#"((from base) (comment "A remark") (workdir /src) (run (shell first))
            (shell /bin/sh -c)
            (run (cache (a (target /data))) (network host) (shell "second &&
                 third \n"))
            (copy (src a b) (dst c)) (copy (src a b) (dst c) (exclude .git))
            (env DEBUG 1) (env QUOTED "\"back\\sla`sh\"") (shell)
            (user (uid 1) (gid 2)) (copy (src a) (dst b)) (user (name opam)) (copy (src a) (dst b)))"#,
        "FROM base
# A remark
WORKDIR /src
RUN first
SHELL [ \"/bin/sh\", \"-c\" ]
RUN second && \\
    third \\
    \nCOPY a b c
COPY a b c
ENV DEBUG=\"1\"
ENV QUOTED=\"\\\"back\\\\sla`sh\\\"\"
SHELL [  ]
USER 1:2
COPY --chown=1:2 a b
USER opam
COPY a b
",
    );
}

#[test]
fn windows_escapes_with_backticks() {
    converts(
        WINDOWS,
        r#"((from base) (workdir C:/src) (shell C:/Windows/System32/cmd.exe /c)
            (run (cache (a (target /data))) (shell "one\ntwo")) (env A "`\\\"")
            (user (name Zaphod)) (copy (src a) (dst b))
            (user (name ContainerAdministrator)) (copy (src a) (dst b)))"#,
        "#escape=`
FROM base
WORKDIR C:/src
SHELL [ \"C:/Windows/System32/cmd.exe\", \"/c\" ]
RUN one `
    two
ENV A=\"``\\`\"\"
USER Zaphod
COPY a b
USER ContainerAdministrator
COPY a b
",
    );
}

#[test]
fn buildkit_has_secrets_before_caches_and_their_user() {
    converts(
        BUILDKIT,
        "((from base)
          (run (cache (a (target /data)) (b (target /srv) (buildkit_options ((sharing locked) (x y)))))
               (secrets (s (target /secrets/s))) (network host) (shell one))
          (user (uid 7) (gid 8)) (run (cache (a (target /data))) (shell two)))",
        "FROM base
RUN --mount=type=secret,id=s,target=/secrets/s,uid=0 --mount=type=cache,id=a,target=/data,uid=0 \
--mount=type=cache,id=b,target=/srv,uid=0,sharing=locked,x=y one
USER 7:8
RUN --mount=type=cache,id=a,target=/data,uid=7 two
",
    );
}

#[test]
fn builds_become_stages_innermost_first_and_each_begins_as_root() {
    converts(
        PLAIN,
        "((build outer ((build inner ((from a) (user (uid 1) (gid 1)) (run (shell x))))
                        (from b) (copy (from (build inner)) (src s) (dst d))))
          (from c) (user (uid 3) (gid 4)) (copy (from (build outer)) (src s) (dst d)))",
        "FROM a as inner
USER 1:1
RUN x

FROM b as outer
COPY --from=inner s d

FROM c
USER 3:4
COPY --chown=3:4 --from=outer s d
",
    );
}

#[test]
fn mount_of_a_user_without_number_is_refused() {
    let spec = parse(
        "((from base) (user (name opam)) (run (shell x)) (run (cache (c (target /c))) (shell y)))",
    );
    assert!(spec.to_dockerfile(PLAIN).is_ok());
    let problem = spec.to_dockerfile(BUILDKIT).unwrap_err();
    assert!(matches!(problem, Problem::NoUid { .. }));
    assert_eq!(
        problem.to_string(),
        "write cache \"c\" for BuildKit: it needs the number of its user, and \"opam\" is a name"
    );
}

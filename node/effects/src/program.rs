//! Running one of the host's programs: bounded in time and output, killed when its caller gives up,
//! with an environment of its own.

use std::{ffi::OsStr, io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

/// Most bytes of a program's output that are kept, from its end.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Why a program gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error("run `{program}`: it is not installed; `apt-get install {package}` brings it")]
    Missing {
        /// Its name.
        program: String,
        /// The Debian package that has it.
        package: String,
    },
    /// It could not be started or waited for.
    #[error("run `{program}`")]
    Io {
        /// Its name.
        program: String,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("run `{program}`: it ended with {status}: {words}")]
    Failed {
        /// Its name.
        program: String,
        /// Exit status.
        status: String,
        /// The last lines that it printed.
        words: String,
    },
    /// It took too long.
    #[error("run `{program}`: no end after {seconds} s")]
    TimedOut {
        /// Its name.
        program: String,
        /// The bound.
        seconds: u64,
    },
}

/// What a program printed.
#[derive(Debug, Clone, Default)]
pub struct Printed {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// One call of a program.
#[derive(Debug)]
pub struct Program {
    name: String,
    package: String,
    command: Command,
    bound: Duration,
}

impl Program {
    /// A call of `name`, which Debian's `package` brings. It inherits only `PATH`, and is killed when
    /// this process dies, however that comes about.
    #[must_use]
    pub fn new(name: &str, package: &str, bound: Duration) -> Self {
        Self::wrapped(
            &["setpriv", "--pdeathsig", "KILL", "--", name],
            name,
            package,
            bound,
        )
    }

    /// Like [`Program::new`], for a program that starts others and mounts things: it is alone in a
    /// process and mount namespace, so that nothing of it outlives it. Needs root.
    #[must_use]
    pub fn contained(name: &str, package: &str, bound: Duration) -> Self {
        let unshare = [
            "unshare",
            "--pid",
            "--mount",
            "--mount-proc",
            "--fork",
            "--kill-child=KILL",
        ];
        let all = ["setpriv", "--pdeathsig", "KILL", "--"]
            .iter()
            .chain(&unshare)
            .copied();
        let words: Vec<&str> = all.chain(["--", name]).collect();
        Self::wrapped(&words, name, package, bound)
    }

    fn wrapped(words: &[&str], name: &str, package: &str, bound: Duration) -> Self {
        let path =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self {
            name: name.to_owned(),
            package: package.to_owned(),
            command,
            bound,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub async fn run(mut self) -> Result<Printed, ProgramError> {
        let io_error = |program: &str, source| ProgramError::Io {
            program: program.to_owned(),
            source,
        };
        if !is_installed(&self.name) {
            let (program, package) = (self.name, self.package);
            return Err(ProgramError::Missing { program, package });
        }
        let mut child = self.command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ProgramError::Missing {
                program: self.name.clone(),
                package: self.package.clone(),
            },
            _ => io_error(&self.name, error),
        })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let all = async { tokio::join!(tail(out), tail(err), child.wait()) };
        let (out, err, status) =
            tokio::time::timeout(self.bound, all)
                .await
                .map_err(|_| ProgramError::TimedOut {
                    program: self.name.clone(),
                    seconds: self.bound.as_secs(),
                })?;
        let status = status.map_err(|error| io_error(&self.name, error))?;
        if status.success() {
            return Ok(Printed { out, err });
        }
        let said = if err.trim().is_empty() { &out } else { &err };
        Err(ProgramError::Failed {
            program: self.name,
            status: status.to_string(),
            words: last_lines(said, 12),
        })
    }
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    name.contains('/') || std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// The last `count` non-empty lines of `text`.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

async fn tail(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut piece = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * OUTPUT_BYTES_MAX {
            kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn output_and_failure_words_are_kept() {
        let printed = Program::new("sh", "dash", BOUND)
            .args(["-c", "echo out; echo err >&2"])
            .run()
            .await;
        let printed = printed.expect("sh works");
        assert_eq!(
            (printed.out.as_str(), printed.err.as_str()),
            ("out\n", "err\n")
        );
        let failed = Program::new("sh", "dash", BOUND)
            .args(["-c", "echo why >&2; exit 3"])
            .run()
            .await;
        let text = failed.expect_err("exit 3").to_string();
        assert!(text.contains("why") && text.contains('3'), "{text}");
    }

    #[tokio::test]
    async fn a_missing_program_names_its_package() {
        let missing = Program::new("no-such-program", "some-package", BOUND)
            .run()
            .await;
        assert!(
            missing
                .expect_err("not there")
                .to_string()
                .contains("some-package")
        );
    }

    #[tokio::test]
    async fn an_endless_program_is_ended() {
        let endless = Program::new("sleep", "coreutils", Duration::from_millis(50)).arg("600");
        assert!(matches!(
            endless.run().await,
            Err(ProgramError::TimedOut { .. })
        ));
    }
}

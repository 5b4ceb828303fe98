//! Running a command to its end and judging it. Programs that stay are `process`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tokio::io::AsyncWriteExt;

use crate::{Error, Result, error::Context};

/// How long a command may take where no other limit is given.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Runs `command` and returns its standard output.
///
/// # Errors
/// When it cannot be started, fails, or takes longer than [`DEADLINE`] (it is then killed).
pub async fn run(command: Command) -> Result<String> {
    run_with_input(command, "").await
}

/// As [`run`], with `input` on its standard input.
///
/// # Errors
/// As [`run`].
pub async fn run_with_input(command: Command, input: &str) -> Result<String> {
    run_within(command, input, DEADLINE).await
}

/// As [`run_with_input`], with another time limit than [`DEADLINE`].
///
/// # Errors
/// As [`run`].
pub async fn run_within(command: Command, input: &str, deadline: Duration) -> Result<String> {
    let line = line(&command);
    let output = output(command, input, deadline).await?;
    judge(line, &output)
}

/// Runs `command` to its end and returns its output whatever its exit status.
///
/// # Errors
/// When it cannot be started or takes longer than `deadline` (it is then killed).
pub async fn output(command: Command, input: &str, deadline: Duration) -> Result<Output> {
    let line = line(&command);
    let mut command = tokio::process::Command::from(command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| Error::Start {
        command: line.clone(),
        source,
    })?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin.take() {
            // A command that ends without reading its input is judged by its exit status.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    match tokio::time::timeout(deadline, both).await {
        Ok(output) => output.context(|| format!("read the output of `{line}`")),
        Err(_) => Err(Error::Timeout {
            what: format!("`{line}` to end"),
            seconds: deadline.as_secs_f64(),
            last: "still running".to_owned(),
        }),
    }
}

/// Runs a command that takes milliseconds, without a runtime: set-up of networks and, in `Drop`,
/// tear-down.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run_now(mut command: Command) -> Result<String> {
    let line = line(&command);
    let output = command.stdin(Stdio::null()).output().map_err(|source| Error::Start {
        command: line.clone(),
        source,
    })?;
    judge(line, &output)
}

/// A command with its arguments, split at white space: for lines that hold no file names.
pub fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Where a program is on the `PATH`, also in the directories for administrators that a user's
/// `PATH` leaves out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The command line for people.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

fn judge(command: String, output: &Output) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = if output.stderr.is_empty() {
        text(&output.stdout)
    } else {
        text(&output.stderr)
    };
    Err(Error::Failed {
        command,
        status: output.status,
        output: said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_command_tells_its_line_status_and_standard_error() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo half; echo broken >&2; exit 3"]);
        let error = run(command).await.expect_err("exit 3 is a failure").to_string();
        assert!(
            error.contains("sh -c") && error.contains("3") && error.ends_with("broken"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn input_reaches_the_command() {
        assert_eq!(
            run_with_input(words("cat"), "to and fro").await.expect("cat runs"),
            "to and fro"
        );
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_named() {
        let error = run(words("no-such-program --flag")).await.expect_err("it is not there");
        assert!(
            error.to_string().starts_with("cannot start `no-such-program --flag`"),
            "{error}"
        );
    }
}

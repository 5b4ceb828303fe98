//! Programs that stay: started with their output in a log file, killed and reaped on drop.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Result, cluster::run_dir, command, error::Context, wait};

/// How many lines of the log an error shows.
const TAIL: usize = 15;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and standard error in the file `log`.
    ///
    /// It gets a process group of its own, so that Ctrl-C on the terminal reaches the owner alone,
    /// and the owner stops everything in order.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let open = || File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = open().context(|| format!("create the log {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start {
                command: command::line(&command),
                source,
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file its output goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything it has written so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn output(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Succeeds while the program runs.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of its log once it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .context(|| format!("ask for the state of {}", self.name))?
        {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// True until the program has ended, without asking for its exit status.
    pub fn is_running(&self) -> bool {
        run_dir::start_time(self.id()).is_some()
    }

    /// Waits until a complete line of its output contains `needle`, and returns that line.
    ///
    /// # Errors
    /// When the program ends first, or `deadline` passes.
    pub async fn wait_line(&mut self, needle: &str, deadline: Duration) -> Result<String> {
        let what = format!("{} to write `{needle}`", self.name);
        let mut ended = None;
        let line = wait::until(&what, deadline, async || {
            let state = self.child.try_wait().map_err(|error| error.to_string())?;
            let output = self.output().map_err(|error| error.to_string())?;
            let complete = output.rsplit_once('\n').map_or("", |(complete, _)| complete);
            match (complete.lines().find(|line| line.contains(needle)), state) {
                (Some(line), _) => Ok(Some(line.to_owned())),
                // It can write nothing more: stop waiting.
                (None, Some(status)) => {
                    ended = Some(status);
                    Ok(None)
                }
                (None, None) => Err(format!("its log ends with:\n{}", tail(complete))),
            }
        })
        .await?;
        match (line, ended) {
            (Some(line), _) => Ok(line),
            (None, Some(status)) => Err(self.ended(status)),
            (None, None) => Err(Error::Invalid(format!("{what}: neither a line nor an end"))),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).context(|| format!("signal {}", self.name))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When `deadline` passes first.
    pub async fn wait_end(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, deadline, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("still running".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Kills it and waits for its end. No effect on a program that has ended.
    pub fn kill(&mut self) {
        // Both fail only for a child that is already reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits, without a runtime, for the end of a program that is known to end.
    pub(crate) fn reap(&mut self) {
        // Fails only for a child that is already reaped.
        let _ = self.child.wait();
    }

    fn ended(&self, status: ExitStatus) -> Error {
        let tail = tail(&self.output().unwrap_or_default());
        Error::Ended {
            name: self.name.clone(),
            status,
            log: self.log.clone(),
            tail,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Process, PathBuf) {
        let name = format!("breakwater-process-{}-{:x}", std::process::id(), script.len());
        let log = std::env::temp_dir().join(name);
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        (Process::spawn("shell", command, &log).expect("sh starts"), log)
    }

    #[tokio::test]
    async fn a_line_is_found_as_soon_as_it_is_complete() {
        let (mut process, log) = shell("echo port=8080; exec cat /dev/zero > /dev/null");
        let line = process
            .wait_line("port=", Duration::from_secs(20))
            .await
            .expect("it is written");
        assert_eq!(line, "port=8080");
        process.check_running().expect("it goes on");
        std::fs::remove_file(log).expect("the log is ours");
    }

    #[tokio::test]
    async fn waiting_for_a_line_ends_when_the_program_does() {
        let (mut process, log) = shell("echo no such option; exit 7");
        let error = process
            .wait_line("ready", Duration::from_secs(20))
            .await
            .expect_err("it ended");
        let text = error.to_string();
        assert!(text.contains('7') && text.ends_with("no such option"), "{text}");
        std::fs::remove_file(log).expect("the log is ours");
    }

    #[test]
    fn dropping_it_kills_and_reaps_it() {
        let (process, log) = shell("exec cat /dev/zero > /dev/null");
        let proc = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
        std::fs::remove_file(log).expect("the log is ours");
    }
}

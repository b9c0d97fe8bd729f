//! Tools from PyPI, in virtual environments under the target folder that are made once.

#![allow(dead_code, reason = "each test binary uses its part of this module")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// AWS's own tools. A change makes a new environment.
pub const AWS: [&str; 2] = ["aws-sam-cli==1.170.0", "cfn-lint==1.58.0"];

/// Others that read Delta tables. DuckDB would fetch its extension from elsewhere; here it comes as a package.
pub const DELTA: [&str; 3] = ["deltalake==1.6.6", "duckdb==1.5.5", "duckdb-extension-delta==1.5.5"];

/// A virtual environment that has some packages.
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// The environment, made where it is not there yet. None where it cannot be made: `skipped` is then said loudly, and
    /// where `CI` is set that is a failure.
    pub fn install(packages: &[&str], skipped: &str) -> Option<Self> {
        match Self::try_install(packages) {
            Ok(tools) => Some(tools),
            Err(why) => {
                say(&format!("NOT RUN: {skipped}\nbecause {why}\nPython 3 with venv and pip is needed."));
                assert!(std::env::var_os("CI").is_none(), "CI needs what was not run: {skipped} ({why})");
                None
            }
        }
    }

    fn try_install(packages: &[&str]) -> Result<Self, String> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = target.join(format!("python-{}", packages.join("-").replace("==", "-")));
        let ready = folder.join(".ready");
        fs::create_dir_all(target).map_err(|e| format!("{} cannot be made: {e}", target.display()))?;
        // Several test binaries, or several checkouts that share a target folder, may come here at once.
        let lock = File::create(folder.with_extension("lock")).map_err(|e| format!("no lock file: {e}"))?;
        lock.lock().map_err(|e| format!("no lock: {e}"))?;
        // Its commands name their Python by its whole path: it is of use only where it was made, while that Python is there.
        let place = folder.to_string_lossy();
        let made_here = fs::read_to_string(&ready).is_ok_and(|made| made == place);
        if !made_here || run(Command::new(folder.join("bin/python")).arg("--version")).is_err() {
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(|e| format!("an unusable environment stays: {e}"))?;
            }
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
            // Of all that Python would compile beforehand little is used.
            run(Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "--no-compile"])
                .args(packages))?;
            fs::write(&ready, place.as_bytes()).map_err(|e| format!("no mark: {e}"))?;
        }
        Ok(Self { folder })
    }

    /// A command of the environment, told to keep to this machine.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join("bin").join(name));
        command
            .env("SAM_CLI_TELEMETRY", "0")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_DEFAULT_REGION", "eu-central-1");
        command
    }

    /// The Lambda Runtime Interface Emulator for this machine, which comes inside the package of `sam`.
    pub fn runtime_emulator(&self) -> PathBuf {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let lib = self.folder.join("lib");
        let python = fs::read_dir(&lib)
            .expect("a virtual environment has lib/")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.join("site-packages/samcli").is_dir())
            .unwrap_or_else(|| panic!("no samcli below {}", lib.display()));
        python.join("site-packages/samcli/local/rapid").join(format!("aws-lambda-rie-{arch}"))
    }
}

/// Says something past the test harness, which would swallow what a passing test prints.
pub fn say(text: &str) {
    let lines: String = text.trim().lines().map(|line| format!("*** {line}\n")).collect();
    let _ = std::io::stderr().write_all(format!("\n{lines}\n").as_bytes());
}

fn run(command: &mut Command) -> Result<(), String> {
    let Output { status, stdout, stderr } = command.output().map_err(|e| format!("{command:?} does not start: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).join(" ");
    Err(format!("{command:?} ended with {status}: {said}"))
}

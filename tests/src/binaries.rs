//! The real binaries, for tests that start them.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds binaries of the workspace in the profile of this test, which is quick where they are built already.
///
/// Cargo gives a test only the binaries of its own package. `--workspace` keeps the features, and so the compiled
/// dependencies, those of `cargo test --workspace`. `temporary` is the test's `CARGO_TARGET_TMPDIR`.
pub fn build(names: &[&str], temporary: &Path) -> HashMap<String, PathBuf> {
    let own = std::env::current_exe().expect("a test has a path");
    let profile = own.ancestors().nth(2).and_then(Path::file_name).expect("target/<profile>/deps/<test>");
    let profile = if profile == "debug" { "test" } else { profile.to_str().expect("UTF-8") };
    let target = temporary.parent().expect("target/tmp");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--workspace", "--locked", "--quiet", "--message-format", "json-render-diagnostics"]);
    command
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    for name in names {
        command.args(["--bin", name]);
    }
    // What cargo tells this test of its package, some build scripts take for a change of theirs: they would run again,
    // and all that depends on them would be compiled again, here and with the next command outside.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|p| text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    let mut cargo = command.stdout(Stdio::piped()).spawn().expect("cargo starts");
    let output = BufReader::new(cargo.stdout.take().expect("piped"));
    let built = cargo_metadata::Message::parse_stream(output).filter_map(|message| match message {
        Ok(cargo_metadata::Message::CompilerArtifact(artifact)) => {
            Some((artifact.target.name, artifact.executable?.into_std_path_buf()))
        }
        _ => None,
    });
    let built: HashMap<String, PathBuf> = built.collect();
    assert!(cargo.wait().expect("cargo ends").success(), "{command:?} failed");
    for name in names {
        assert!(built.contains_key(*name), "cargo built no {name}");
    }
    built
}

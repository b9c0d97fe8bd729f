//! A small disk of its own, which can be full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// It is mounted as long as this lives.
pub struct Disk(pub PathBuf);

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|said| said.stdout.starts_with(b"0\n"))
}

/// Whether disks may be mounted here: root in a container often may not.
fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    if !is_root() {
        return as_root("true").output().is_ok_and(|said| said.status.success());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let has = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    has.is_some_and(|has| has & CAP_SYS_ADMIN != 0)
}

/// A command that only root may give.
fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

impl Disk {
    /// None where this may not be done, which is said loudly; in CI it fails where it may.
    pub fn mount(folder: &Path, bytes: usize) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={bytes},mode=1777");
        let mounted = as_root("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        if mounted.as_ref().is_ok_and(|said| said.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        let why = mounted.map(|said| String::from_utf8_lossy(&said.stderr).into_owned()).unwrap_or_default();
        let said = format!("NOT TESTED: a full disk, since only root can mount a small one: {}", why.trim());
        assert!(std::env::var("CI").as_deref() != Ok("true") || !may_mount(), "{said}");
        eprintln!("\n{said}\n");
        None
    }

    /// Makes it just as large as what lies on it, so that nothing more has room.
    pub fn fill(&self) {
        for _ in 0..5 {
            let used = Command::new("df").args(["-k", "--output=used"]).arg(&self.0).output().unwrap().stdout;
            let used = String::from_utf8(used).unwrap();
            let used: u64 = used.lines().nth(1).unwrap().trim().parse().unwrap();
            if self.resize(used * 1024) {
                return;
            }
        }
    }

    /// Whether it has this size now.
    pub fn resize(&self, bytes: u64) -> bool {
        let size = format!("remount,size={bytes}");
        as_root("mount").args(["-o", &size]).arg(&self.0).output().is_ok_and(|said| said.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

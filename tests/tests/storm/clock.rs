//! A clock that jumps while the process that looks at it runs: a small library that is loaded before all others adds what a
//! file says to the time of day.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the library is made of. Only the time of day is wrong: what measures durations is left alone.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *ahead;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("STORM_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *seen = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (seen != MAP_FAILED) ahead = seen;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int said = syscall(SYS_clock_gettime, clock, now);
    if (said == 0 && clock == CLOCK_REALTIME && ahead) now->tv_sec += *ahead;
    return said;
}
"#;

/// The library in `folder`, made there with the compiler that linked this test.
pub fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library
}

/// The clock of one worker.
pub struct Clock {
    file: File,
    path: PathBuf,
}

impl Clock {
    /// One that is right.
    pub fn new(path: PathBuf) -> Self {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).unwrap();
        let clock = Self { file, path };
        clock.jump(0);
        clock
    }

    /// From now on it is wrong by so many seconds.
    pub fn jump(&self, ahead: i64) {
        self.file.write_all_at(&ahead.to_ne_bytes(), 0).unwrap();
    }

    /// Where a process finds it.
    pub fn environment(&self, library: &Path) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", library.display().to_string()), ("STORM_CLOCK", self.path.display().to_string())]
    }
}

//! A large file goes through without holding it in memory.

use super::Root;
use futures::StreamExt;
use std::fmt::Write as _;

/// Rows of some 93 bytes; `FLOWGATE_SPEED_ROWS=5000000` with `--nocapture` shows what it costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_are_all_read_once() {
    let rows: u64 = std::env::var("FLOWGATE_SPEED_ROWS").ok().and_then(|r| r.parse().ok()).unwrap_or(100_000);
    let root = Root::new("big.csv");
    {
        use std::io::Write;
        let mut file = std::io::BufWriter::new(std::fs::File::create(root.dir.path().join("big.csv")).unwrap());
        writeln!(file, "id,customer,email,amount,quantity,created_at,active,note").unwrap();
        let mut line = String::new();
        for i in 0..rows {
            line.clear();
            let cents = i * 7919 % 1_000_000;
            writeln!(
                line,
                "{i},customer {},user{}@example.com,{}.{:02},{},2024-{:02}-{:02}T{:02}:30:15Z,{},\"a note, {}\"",
                i % 90_001,
                i % 70_003,
                cents / 100,
                cents % 100,
                i % 40,
                i % 12 + 1,
                i % 28 + 1,
                i % 24,
                i % 3 == 0,
                i % 999,
            )
            .unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
        file.flush().unwrap();
    }
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    let context = datafusion::prelude::SessionContext::new();
    let plan = source.provider(None, progress).scan(&context.state(), None, &[], None).await.unwrap();
    let before = (cpu_seconds(), std::time::Instant::now());
    let tasks: Vec<_> = (0..3)
        .map(|p| {
            let mut stream = plan.execute(p, context.task_ctx()).unwrap();
            tokio::spawn(async move {
                let mut rows = 0;
                while let Some(batch) = stream.next().await {
                    rows += batch.unwrap().num_rows() as u64;
                }
                rows
            })
        })
        .collect();
    let mut read = 0;
    for task in tasks {
        read += task.await.unwrap();
    }
    println!("{read} rows: {:.2} CPU-s, {:.2} s", cpu_seconds() - before.0, before.1.elapsed().as_secs_f64());
    assert_eq!(read, rows);
}

/// CPU time of this process; 0 where the system does not say.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

//! A sample reads the first records of a source and no more.

use super::Root;
use std::fmt::Write;
use std::io::Write as _;

fn numbers(from: usize, to: usize) -> String {
    let mut text = String::from("n\n");
    for n in from..to {
        writeln!(text, "{n}").unwrap();
    }
    text
}

#[tokio::test]
async fn a_sample_is_the_first_records_also_over_several_files() {
    let mut root = Root::new("in").file("in/a.csv", numbers(0, 7)).file("in/b.csv", numbers(7, 100));
    root.most_rows = Some(10);
    let rows = root.read().await;
    assert_eq!(rows.texts(), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(rows.counted, (10, 10, 0));
}

#[tokio::test]
async fn rejected_records_count_as_read() {
    let mut root = Root::with("in.csv", "a,b\n1,2\n3\n5,6\n7,8\n");
    root.most_rows = Some(3);
    let rows = root.read().await;
    assert_eq!(rows.texts(), ["1|2", "5|6"]);
    assert_eq!(rows.rejects.len(), 1);
}

#[tokio::test]
async fn a_sample_of_a_broken_archive_does_not_reach_its_end() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(numbers(0, 400_000).as_bytes()).unwrap();
    let mut bytes = encoder.finish().unwrap();
    bytes.truncate(bytes.len() - 100);
    let mut root = Root::with("in.csv.gz", bytes);
    assert!(root.fault().await.contains("ends in the middle"), "a whole read finds the end missing");
    root.most_rows = Some(1000);
    assert_eq!(root.read().await.texts().len(), 1000);
}

//! Whatever a table holds: written as csv and read back, it is the same.

use super::Root;
use proptest::prelude::*;
use serde_json::json;

fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains([',', '"', '\n', '\r']) && !value.starts_with('\u{feff}');
    if plain { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\"\"")) }
}

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\"".to_owned()),
        Just(",".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("é😀".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\\".to_owned()),
        Just(" ".to_owned()),
        "[a-z0-9]{0,4}",
        "\\PC{0,3}",
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn table() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1_usize..5).prop_flat_map(|width| proptest::collection::vec(proptest::collection::vec(nasty(), width), 0..40))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_that_is_written_and_read_back_is_equal(table in table(), crlf: bool, batch in 1_usize..20) {
        let width = table.first().map_or(2, Vec::len);
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = (0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",") + end;
        for row in &table {
            text += &row.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(",");
            text += end;
        }
        let mut root = Root::with("a.csv", &text).options(json!({"inferTypes": false, "nullValues": []}));
        root.batch_size = batch;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let rows = runtime.block_on(root.read());
        let read: Vec<Vec<String>> = rows.rows.into_iter().map(|r| r.into_iter().map(|v| v.unwrap()).collect()).collect();
        prop_assert_eq!(read, table);
        prop_assert!(rows.rejects.is_empty());
    }
}

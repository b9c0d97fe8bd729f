//! Upserts in any order come to what a map comes to.

use super::*;
use datafusion::arrow::array::{Float64Array, TimestampMicrosecondArray};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Runs of rows; a run is an upsert, or appends the ids that are new.
fn runs() -> impl Strategy<Value = Vec<Vec<(i64, u16)>>> {
    prop::collection::vec(prop::collection::vec((0..60_i64, any::<u16>()), 0..40), 1..6)
}

async fn agrees(runs: &[Vec<(i64, u16)>], memory: usize) {
    let mut world = World::customers();
    world.settings.memory_bytes = memory;
    let mut map: BTreeMap<i64, String> = BTreeMap::new();
    for (number, rows) in runs.iter().enumerate() {
        let names: Vec<String> = rows.iter().map(|(_, value)| format!("n{value}")).collect();
        let all: Vec<(i64, &str)> = rows.iter().zip(&names).map(|((id, _), name)| (*id, name.as_str())).collect();
        let half = all.len() / 2;
        let mut attempt = world.open(&format!("run_{number}"), upsert(), &[]).await.unwrap();
        // The later rows come from the first partition.
        let parts = [vec![people(half as i64 + 1, &all[half..])], vec![people(1, &all[..half])]];
        world.stage(&mut attempt, &parts).await.unwrap();
        let done = world.commit(&mut attempt).await.unwrap();
        let before = all.len() as u64;
        map.extend(all.iter().map(|(id, name)| (*id, (*name).to_owned())));
        let distinct = all.iter().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>().len() as u64;
        assert_eq!((done.rows_out, done.skipped), (distinct, before - distinct));
    }
    let mut expected: Vec<String> = map.iter().map(|(id, name)| format!("{id}:{name}")).collect();
    expected.sort();
    assert_eq!(world.people().await, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn upserts_agree_with_a_map(runs in runs(), small in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // With next to no memory the merge sorts instead of hashing.
        runtime.block_on(agrees(&runs, if small { 16 } else { 256 << 20 }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upsert_that_merges_by_sorting_keeps_each_key_once() {
    const POOL: usize = 64 << 20;
    let mut world = World::customers();
    // Little enough that the merge sorts instead of hashing.
    world.settings.memory_bytes = 12 << 20;
    world.schema.fields[1].length = None;
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(POOL))).build_arc().unwrap();
    let config = SessionConfig::new().with_target_partitions(2).with_sort_spill_reservation_bytes(512 << 10);
    world.session = SessionContext::new_with_config_rt(config, runtime);
    let name = "a name that is long enough to fill the memory that there is ".repeat(2);
    for (run, step) in [("run_1", 1), ("run_2", 3)] {
        // 40 MB, in an order that is not the keys'.
        let ids: Vec<i64> = (0..300_000).map(|n| n * 7_919 % 300_007 * step).collect();
        let batches: Vec<RecordBatch> = ids
            .chunks(4096)
            .enumerate()
            .map(|(chunk, ids)| {
                people(chunk as i64 * 4096 + 1, &ids.iter().map(|id| (*id, name.as_str())).collect::<Vec<_>>())
            })
            .collect();
        let done = world.run(run, upsert(), &batches).await.unwrap();
        assert_eq!(done.rows_out, 300_000);
    }
    let request = PageRequest { limit: 1, bytes: usize::MAX, position: None, include_total: true };
    let page = read_page("acme", &world.schema, &world.settings, request).await.unwrap();
    let keys = |step: i64| (0..300_000_i64).map(move |n| n * 7_919 % 300_007 * step);
    let all: std::collections::HashSet<i64> = keys(1).chain(keys(3)).collect();
    assert_eq!(page.total, Some(all.len() as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upsert_agrees_with_a_map() {
    let start: Vec<(i64, u16)> = (0..30_000).map(|id| (id * 2, 1)).collect();
    let change: Vec<(i64, u16)> = (0..20_000).map(|id| (id * 3 % 40_007, 2)).collect();
    agrees(&[start, change.clone(), change], 256 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upsert_that_merges_by_sorting_tells_keys_of_each_type_apart() {
    let micros = |ids: &[i64]| ids.iter().map(|id| id * 1_000).collect::<Vec<_>>();
    type Keys = fn(Vec<i64>) -> ArrayRef;
    let keys: [(&str, Keys); 3] = [
        ("timestamptz", |v| Arc::new(TimestampMicrosecondArray::from(v).with_timezone("UTC"))),
        ("timestamp", |v| Arc::new(TimestampMicrosecondArray::from(v))),
        ("double", |v| {
            Arc::new(Float64Array::from_iter_values(v.iter().map(|v| if *v == 0 { f64::NAN } else { *v as f64 })))
        }),
    ];
    for (data_type, array) in keys {
        let mut world = World::new(json!([
            { "name": "id", "dataType": data_type, "isPrimaryKey": true },
            { "name": "name", "dataType": "text" },
        ]));
        // Little enough that the merge sorts instead of hashing.
        world.settings.memory_bytes = 16;
        for (run, first) in [("run_1", 0), ("run_2", 4_000), ("run_3", -2_000)] {
            let ids: Vec<i64> = (0..8_000).map(|n| first + n * 7_919 % 8_000).collect();
            let names: Vec<(i64, &str)> = ids.iter().map(|id| (*id, run)).collect();
            let people = people(1, &names);
            let rows = RecordBatch::try_from_iter([
                ("id", array(micros(&ids))),
                ("name", Arc::clone(people.column(1))),
                (ROW_COLUMN, Arc::clone(people.column(2))),
            ])
            .unwrap();
            let batches: Vec<RecordBatch> = (0..8).map(|i| rows.slice(i * 1_000, 1_000)).collect();
            let done = world.run(run, upsert(), &batches).await.unwrap();
            assert_eq!(done.rows_out, 8_000, "{data_type}");
        }
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        for row in world.rows().await {
            *names.entry(row["name"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        // From -2,000 to 11,999; of the second run what the third left.
        let expected = [("run_2".to_owned(), 6_000), ("run_3".to_owned(), 8_000)];
        assert_eq!(names, BTreeMap::from(expected), "{data_type}");
    }
}

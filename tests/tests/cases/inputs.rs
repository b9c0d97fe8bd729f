//! Writes a case's input files.

use super::case::{File, Packed};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Writes files into a folder.
pub fn write(folder: &Path, files: &BTreeMap<String, File>) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, file) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes(file)).unwrap();
    }
}

/// Copies the files beside `case.yaml`.
pub fn copy(from: &Path, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name != "case.yaml" {
            std::fs::copy(&path, folder.join(name)).unwrap();
        }
    }
}

fn bytes(file: &File) -> Vec<u8> {
    match file {
        File::Text(text) => text.clone().into_bytes(),
        File::Packed(Packed::Gzip(text)) => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(text.as_bytes()).unwrap();
            gzip.finish().unwrap()
        }
        File::Packed(Packed::Zstd(text)) => zstd::encode_all(text.as_bytes(), 1).unwrap(),
        File::Packed(Packed::Latin1(text)) => {
            text.chars().map(|c| u8::try_from(u32::from(c)).expect("a character of Latin-1")).collect()
        }
        File::Packed(Packed::Bom(text)) => ["\u{feff}", text].concat().into_bytes(),
        File::Packed(Packed::Many { head, line, times }) => [head.as_str(), &line.repeat(*times)].concat().into_bytes(),
    }
}

use hw::*;
use packet::*;
use std::time::Instant;
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let path = "/tmp/hwt/x.pcap";
    let mut f = vec![
        0xd4u8, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
    ];
    for i in 0..n {
        f.extend([0u8; 8]);
        f.extend([60, 0, 0, 0, 60, 0, 0, 0]);
        let mut p = [7u8; 60];
        p[0..8].copy_from_slice(&(i as u64).to_le_bytes());
        f.extend(p);
    }
    std::fs::write(path, f).unwrap();
    let m = memory::map(32768).unwrap();
    println!("huge {}", m.huge);
    let depot = Depot::new(m.memory);
    let mut pool = FramePool::new(&depot);
    let mut p = Pcap::open(
        &PcapOptions { receive: Some(path.into()), repeat: true, ..Default::default() },
        PortId(1),
    )
    .unwrap();
    let mut rx = p.rx_queues().remove(0);
    let mut nl = Null::new();
    let mut tx = nl.tx_queue().unwrap();
    let (mut b, mut r) = (Batch::new(), Vec::new());
    let mem = std::sync::Arc::clone(pool.memory());
    let mut sum = 0u64;
    for touch in [false, true] {
        for burst in [32, 64, 128, 256] {
            let mut best = f64::MAX;
            for _ in 0..20 {
                let t = Instant::now();
                let rounds = 400000 / burst;
                for _ in 0..rounds {
                    rx.rx(&mut b, burst, &mut pool);
                    if touch {
                        for p in b.iter() {
                            sum += p.head(&mem)[0] as u64 + p.head(&mem)[30] as u64;
                        }
                    }
                    tx.tx(&mut b, &mut pool, &mut r);
                }
                best = best.min(t.elapsed().as_nanos() as f64 / (rounds * burst) as f64);
            }
            println!("touch {touch} burst {burst}: {best:.2} ns/packet");
        }
    }
    println!("{sum}");
}

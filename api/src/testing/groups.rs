//! Generated groups, meters and lines of bundles.

use packet::{Key, compose};
use proptest::collection::{btree_map, vec};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::pipeline::{any_pipeline_action, any_pipeline_flow_mod};
use super::{any_match, few_masks, legal};
use crate::action::Action;
use crate::change::{Change, PacketOut};
use crate::field::Field;
use crate::flow::{FlowMod, Match};
use crate::group::{Bucket, BucketPlace, Group, GroupKind, GroupMod, Selection};
use crate::meter::{BandKind, Meter, MeterBand, MeterId, MeterMod, MeterUnit};
use crate::table::{TableMiss, TableMod};
use crate::text::Assumed;

/// Any group, mostly one of a few numbers.
pub fn any_group() -> impl Strategy<Value = Group> {
    any_group_of(any_pipeline_action(&Match::ANY).boxed())
}

/// The same whose buckets have such actions.
pub(super) fn any_group_of(action: BoxedStrategy<Action>) -> impl Strategy<Value = Group> {
    let kind = select(GroupKind::ALL.map(|(kind, _)| kind).to_vec());
    let id = prop_oneof![6 => 0..6u32, 1 => 0..=Group::MAX];
    (id, kind, any_selection(), any_buckets(action)).prop_map(
        |(id, kind, selection, mut buckets)| {
            for bucket in &mut buckets {
                shape(bucket, kind);
            }
            if kind == GroupKind::Indirect {
                buckets.truncate(1);
            }
            let select = kind == GroupKind::Select;
            let selection = if select { selection } else { Selection::Default };
            Group { id, kind, selection, buckets }
        },
    )
}

/// Makes a bucket one of a group of this kind.
fn shape(bucket: &mut Bucket, kind: GroupKind) {
    if kind != GroupKind::Select {
        bucket.weight = 0;
    }
    match kind {
        GroupKind::All | GroupKind::Indirect => {
            (bucket.watch_port, bucket.watch_group) = (None, None);
        }
        GroupKind::FastFailover if bucket.watch_group.is_none() => {
            bucket.watch_port = bucket.watch_port.or(Some(1));
        }
        _ => {}
    }
}

fn any_selection() -> impl Strategy<Value = Selection> {
    let param = || prop_oneof![Just(0u64), any::<u64>()];
    let fields = select(vec![
        Field::InPort,
        Field::Reg(0),
        Field::EthSrc,
        Field::IpSrc,
        Field::IpDst,
        Field::Ipv6Dst,
        Field::IpProto,
        Field::TcpDst,
        Field::UdpSrc,
    ]);
    let fields = fields.prop_flat_map(|field| {
        let mask = match field.is_maskable() {
            true => prop_oneof![Just(field.ones()), few_masks(field)].boxed(),
            false => Just(field.ones()).boxed(),
        };
        (Just(field), mask)
    });
    let fields = vec(fields, 0..4).prop_map(|mut fields| {
        fields.sort_unstable();
        fields.dedup_by_key(|(field, _)| *field);
        fields
    });
    prop_oneof![
        Just(Selection::Default),
        param().prop_map(|param| Selection::DpHash { param }),
        (param(), fields).prop_map(|(param, fields)| Selection::Hash { param, fields }),
    ]
}

/// One to four buckets of different numbers, in any order.
fn any_buckets(action: BoxedStrategy<Action>) -> impl Strategy<Value = Vec<Bucket>> {
    let id = prop_oneof![6 => 0..6u32, 1 => 0..=Group::MAX];
    let actions = vec(action, 0..4).prop_map(|actions| legal(actions, &mut Assumed::in_bucket()));
    let watch_port = weighted(0.3, prop_oneof![4 => 1..5u16, 1 => Just(0xfffd)]);
    let weight = prop_oneof![2 => Just(1u16), 1 => 0..100u16];
    let rest = (weight, watch_port, weighted(0.2, 0..6u32), actions);
    btree_map(id, rest, 1..5)
        .prop_map(|buckets| buckets.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|buckets| {
            let bucket = |(id, (weight, watch_port, watch_group, actions))| Bucket {
                id,
                weight,
                watch_port,
                watch_group,
                actions,
            };
            buckets.into_iter().map(bucket).collect()
        })
}

/// Any change of groups.
pub fn any_group_mod() -> impl Strategy<Value = GroupMod> {
    let place = || {
        prop_oneof![
            Just(BucketPlace::First),
            Just(BucketPlace::Last),
            (0..6u32).prop_map(BucketPlace::Id),
        ]
    };
    let some = prop_oneof![3 => place(), 1 => Just(BucketPlace::All)];
    let buckets = any_buckets(any_pipeline_action(&Match::ANY).boxed());
    prop_oneof![
        4 => any_group().prop_map(GroupMod::Add),
        2 => any_group().prop_map(GroupMod::Modify),
        2 => any_group().prop_map(GroupMod::AddOrModify),
        2 => weighted(0.8, 0..6u32).prop_map(GroupMod::Delete),
        1 => (0..6u32, place(), buckets).prop_map(|(id, place, buckets)| {
            GroupMod::InsertBuckets { id, place, buckets }
        }),
        1 => (0..6u32, some).prop_map(|(id, place)| GroupMod::RemoveBuckets { id, place }),
    ]
}

/// Any meter.
pub fn any_meter() -> impl Strategy<Value = Meter> {
    let kind = prop_oneof![
        3 => Just(BandKind::Drop),
        1 => (1..=u8::MAX).prop_map(BandKind::DscpRemark),
    ];
    let amount = || prop_oneof![3 => 1..1000u32, 1 => 1..=u32::MAX];
    let bands = vec((kind, amount(), amount()), 1..4);
    let unit = select(vec![MeterUnit::Kbps, MeterUnit::Pktps]);
    (any_meter_id(), unit, any::<bool>(), any::<bool>(), bands).prop_map(
        |(id, unit, burst, stats, bands)| {
            let band = |(kind, rate, size)| MeterBand {
                kind,
                rate,
                burst_size: if burst { size } else { 0 },
            };
            Meter { id, unit, burst, stats, bands: bands.into_iter().map(band).collect() }
        },
    )
}

fn any_meter_id() -> impl Strategy<Value = MeterId> {
    prop_oneof![
        6 => (1..4u32).prop_map(MeterId::Number),
        1 => (1..=MeterId::MAX).prop_map(MeterId::Number),
        1 => Just(MeterId::Controller),
        1 => Just(MeterId::Slowpath),
    ]
}

/// Any change of meters.
pub fn any_meter_mod() -> impl Strategy<Value = MeterMod> {
    prop_oneof![
        3 => any_meter().prop_map(MeterMod::Add),
        1 => any_meter().prop_map(MeterMod::Modify),
        1 => weighted(0.8, any_meter_id()).prop_map(MeterMod::Delete),
    ]
}

/// Any line of a bundle.
pub fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any_pipeline_flow_mod().prop_map(Change::Flow).boxed(),
        2 => any_group_mod().prop_map(Change::Group).boxed(),
        1 => any_meter_mod().prop_map(Change::Meter).boxed(),
        1 => any_table_mod().prop_map(Change::Table).boxed(),
        2 => any_packet_out().prop_map(Change::PacketOut).boxed(),
    ]
}

fn any_table_mod() -> impl Strategy<Value = TableMod> {
    let table = weighted(0.8, 0..=FlowMod::MAX_TABLE);
    let miss = weighted(0.6, select(TableMiss::ALL.map(|(miss, _)| miss).to_vec()));
    let all = (table, miss, weighted(0.3, any::<u32>()), any::<Option<bool>>());
    all.prop_map(|(table, miss, limit, evict)| {
        // One that says nothing is refused.
        let miss = if limit.or(evict.map(u32::from)).is_none() {
            miss.or(Some(TableMiss::Drop))
        } else {
            miss
        };
        TableMod { table, miss, limit, evict }
    })
}

/// Any packet to be sent, with actions that it may meet.
fn any_packet_out() -> impl Strategy<Value = PacketOut> {
    let in_port = prop_oneof![3 => 0..5u16, 1 => select(vec![0xfffd, 0xfffe, 0xffff])];
    let fields: Vec<_> = PacketOut::fields().collect();
    let fields = vec((select(fields), any::<u128>()), 0..3).prop_map(|said| {
        let all = said.into_iter();
        all.fold(Key::ZERO, |key, (field, value)| key.with(field.span(), value & field.ones()))
    });
    let packet =
        (any_match(), 14..80usize).prop_map(|(matching, len)| compose(matching.key(), len));
    (in_port, fields, packet).prop_flat_map(|(in_port, fields, packet)| {
        let mut key = Key::ZERO;
        let _ = packet::parse(&packet, packet.len(), &mut key);
        key.set(Key::IN_PORT, in_port);
        let matching = Match::exactly(&key);
        let actions = vec(any_pipeline_action(&matching), 0..5)
            .prop_map(move |actions| legal(actions, &mut Assumed::in_packet_out(&matching)));
        actions.prop_map(move |actions: Vec<Action>| PacketOut {
            in_port,
            fields,
            packet: packet.clone(),
            actions,
        })
    })
}

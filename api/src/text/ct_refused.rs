//! What is refused of flows that track connections.

/// What nobody takes, with our error and the bytes it is about.
pub(super) const REFUSED: &[(&str, &str, std::ops::Range<usize>)] = &[
    // Values.
    (
        "ct_state=+foo,actions=1",
        "`ct_state` takes new, est, rel, rpl, inv, trk, snat, dnat, found `foo`",
        10..13,
    ),
    ("ct_state=+new+new,actions=1", "`ct_state` takes each flag once, found `new`", 14..17),
    (
        "ct_state=new|foo,actions=1",
        "`ct_state` takes new, est, rel, rpl, inv, trk, snat, dnat, found `foo`",
        13..16,
    ),
    ("ct_state=0x1ff,actions=1", "`0x1ff` does not fit the 8 bits of `ct_state`", 9..14),
    ("ct_state=0/0x100,actions=1", "`0x100` does not fit the 8 bits of `ct_state`", 11..16),
    ("ct_zone=5/0xff,actions=1", "`ct_zone` is matched whole or not at all", 8..14),
    ("ct_zone[0..3]=1,actions=1", "`ct_zone` is matched whole or not at all", 0..13),
    ("ct_zone=65536,actions=1", "`65536` does not fit the 16 bits of `ct_zone`", 8..13),
    ("ct_mark=0x100000000,actions=1", "`0x100000000` does not fit the 32 bits of `ct_mark`", 8..19),
    (
        "ct_label=0xfffffffffffffffffffffffffffffffff,actions=1",
        "`0xfffffffffffffffffffffffffffffffff` does not fit the 128 bits of `ct_label`",
        9..44,
    ),
    ("ct_nw_proto=6/7,actions=1", "`ct_nw_proto` is matched whole or not at all", 12..15),
    ("ct_nw_src,actions=1", "`ct_nw_src` needs a value", 0..9),
    ("ct_stat=+trk,actions=1", "unknown word `ct_stat`, did you mean `ct_state`?", 0..7),
    // Prerequisites of matches.
    ("ip,ct_nw_src=1.2.3.4,actions=1", "`ct_nw_src` needs `ct_state=+trk-inv` in the match", 3..12),
    (
        "ct_state=+trk,ip,ct_nw_src=1.2.3.4,actions=1",
        "`ct_nw_src` needs `ct_state=+trk-inv` in the match",
        17..26,
    ),
    (
        "ct_state=-inv,ip,ct_nw_dst=1.2.3.4,actions=1",
        "`ct_nw_dst` needs `ct_state=+trk-inv` in the match",
        17..26,
    ),
    (
        "ct_state=+inv+trk,ct_nw_proto=6,actions=1",
        "`ct_nw_proto` needs `ct_state=+trk-inv` in the match",
        18..29,
    ),
    (
        "ct_state=+new,ct_nw_proto=6,ct_tp_src=80,ct_state=+trk,actions=1",
        "`ct_nw_proto` needs `ct_state=+trk-inv` in the match",
        14..25,
    ),
    ("ct_state=+new,ct_nw_src=1.2.3.4,actions=1", "`ct_nw_src` needs `ip` in the match", 14..23),
    (
        "ct_state=+new,arp,ct_nw_src=1.2.3.4,actions=1",
        "`ct_nw_src` needs `ip` in the match",
        18..27,
    ),
    (
        "ct_state=+new,ipv6,ct_nw_src=1.2.3.4,actions=1",
        "`ct_nw_src` needs `ip` in the match",
        19..28,
    ),
    (
        "ct_state=+new,ip,ct_ipv6_src=::1/::ffff,actions=1",
        "`ct_ipv6_src` needs `ipv6` in the match",
        17..28,
    ),
    // Tracking.
    ("actions=ct()", "`ct` needs `ip` in the match", 8..10),
    ("arp,actions=1,ct(commit)", "`ct` needs `ip` in the match", 14..16),
    ("actions=write_actions(ct(commit))", "`ct` needs `ip` in the match", 22..24),
    ("ip,actions=ct(Commit)", "unknown word `Commit`, did you mean `commit`?", 14..20),
    ("ip,actions=ct(foo=5)", "unknown word `foo`", 14..17),
    ("ip,actions=ct(zone=5,force)", "`force` goes with `commit`", 21..26),
    ("ip,actions=ct(table=255)", "`table` takes a table from 0 to 253, found `255`", 20..23),
    ("ip,actions=ct(table)", "`table` needs a value", 14..19),
    ("ip,actions=ct(zone=65536)", "`65536` does not fit the 16 bits of `zone`", 19..24),
    ("ip,actions=ct(zone=)", "`zone` needs a value", 14..18),
    ("ip,actions=ct(zone=-1)", "`-1` does not fit the 16 bits of `zone`", 19..21),
    (
        "ip,actions=ct(zone=reg0)",
        "`zone` takes a number or 16 bits of a field, found `reg0`",
        19..23,
    ),
    (
        "ip,actions=ct(zone=NXM_NX_REG0[0..14])",
        "`zone` takes a number or 16 bits of a field, found `NXM_NX_REG0[0..14]`",
        19..37,
    ),
    ("ip,actions=ct(zone=reg0[16..32])", "`reg0` has only the bits 0 to 31", 24..30),
    ("ip,actions=ct(zone=nosuch)", "unknown field `nosuch`", 19..25),
    ("ip,actions=ct(zone=tcp_dst)", "`tcp_dst` needs `tcp` in the match", 11..13),
    ("ip,actions=ct(alg=ftp)", "`alg=ftp` needs `tcp` in the match", 11..13),
    ("tcp,actions=ct(commit,alg=tftp)", "`alg=tftp` needs `udp` in the match", 12..14),
    ("tcp,actions=ct(commit,alg=FTP)", "`alg` takes ftp or tftp, found `FTP`", 26..29),
    ("tcp,actions=ct(commit,alg)", "`alg` needs a value", 22..25),
    (
        "ct_state=+inv+trk,ip,actions=1,ct(commit)",
        "`commit` keeps no connection where the match says `+inv`",
        31..33,
    ),
    (
        "ct_state=inv|trk,ip,actions=ct_clear,ct(commit)",
        "`commit` keeps no connection where the match says `+inv`",
        37..39,
    ),
    ("ip,actions=ct(commit,nat ( src ))", "expected a word, found `(`", 25..26),
    ("actions=conjunction(1,1/2),ct_clear", "`ct_clear` cannot stand beside `conjunction`", 27..35),
    // Translating.
    ("ip,actions=nat(src=1.2.3.4)", "`nat` stands in `ct(...)`, not in a list of actions", 11..14),
    ("ip,actions=ct(commit,nat(foo))", "unknown word `foo`", 25..28),
    ("ip,actions=ct(nat(src))", "`nat` goes with `commit` if it has words of its own", 14..17),
    (
        "ip,actions=ct(table=1,nat(dst=1.2.3.4),zone=5)",
        "`nat` goes with `commit` if it has words of its own",
        22..25,
    ),
    ("ip,actions=ct(commit,nat(random))", "`random` goes with `src` or `dst`", 25..31),
    ("ip,actions=ct(commit,nat(persistent,hash))", "`persistent` goes with `src` or `dst`", 25..35),
    ("ip,actions=ct(commit,nat(src,dst))", "`dst` cannot stand beside `src`", 29..32),
    (
        "ip,actions=ct(commit,nat(dst=1.2.3.4,src=1.2.3.4))",
        "`src` cannot stand beside `dst`",
        37..40,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4,hash,random))",
        "`random` contradicts the other way to choose",
        42..48,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.10-1.2.3.4))",
        "`src` takes a range whose first address is not above its last, found `1.2.3.10-1.2.3.4`",
        29..45,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4:90-80))",
        "`src` takes a range whose first port is not above its last, found `90-80`",
        37..42,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4:0-5))",
        "`src` takes ports from 1 to 65535, found `0`",
        37..38,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4:))",
        "`src` takes ports from 1 to 65535, found nothing",
        37..37,
    ),
    (
        "ip,actions=ct(commit,nat(dst=1.2.3.4:0x50))",
        "`dst` takes ports from 1 to 65535, found `0x50`",
        37..41,
    ),
    (
        "ip,actions=ct(commit,nat(src=:80-90))",
        "`src` takes addresses and ports, as in `10.0.0.1-10.0.0.9:80-90` or `[fd00::1]:80`, found `:80-90`",
        29..35,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4-))",
        "`src` takes addresses and ports, as in `10.0.0.1-10.0.0.9:80-90` or `[fd00::1]:80`, found nothing",
        37..37,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4/24))",
        "`src` takes addresses and ports, as in `10.0.0.1-10.0.0.9:80-90` or `[fd00::1]:80`, found `1.2.3.4/24`",
        29..39,
    ),
    (
        "ipv6,actions=ct(commit,nat(src=[fd00::1))",
        "`src` takes addresses and ports, as in `10.0.0.1-10.0.0.9:80-90` or `[fd00::1]:80`, found `[fd00::1`",
        31..39,
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4-fd00::1))",
        "`src` takes two addresses of one version of IP, found `1.2.3.4-fd00::1`",
        29..44,
    ),
    (
        "ip,actions=ct(commit,nat(src=0.0.0.0:1-20))",
        "`src` takes the zero address alone, which changes none, found `0.0.0.0:1-20`",
        29..41,
    ),
    (
        "ip,actions=ct(commit,nat(src=0.0.0.0-1.2.3.4))",
        "`src` takes the zero address alone, which changes none, found `0.0.0.0-1.2.3.4`",
        29..44,
    ),
    ("ipv6,actions=ct(commit,nat(src=1.2.3.4))", "`nat` needs `ip` in the match", 13..15),
    ("ip,actions=ct(commit,nat(src=fd00::1))", "`nat` needs `ipv6` in the match", 11..13),
    // Marking.
    (
        "ip,actions=exec(load:1->ct_mark)",
        "`exec` stands in `ct(...)`, not in a list of actions",
        11..15,
    ),
    ("ip,actions=ct(exec(load:1->ct_mark))", "`exec` goes with `commit`", 14..18),
    (
        "ip,actions=ct(commit,exec(output:1))",
        "`output` has no place in `exec`, which writes `ct_mark` and `ct_label` alone",
        26..32,
    ),
    (
        "ip,actions=ct(commit,exec(set_field:1->reg0))",
        "`reg0` has no place in `exec`, which writes `ct_mark` and `ct_label` alone",
        39..43,
    ),
    (
        "ip,actions=ct(commit,exec(load:1->reg0))",
        "`reg0` has no place in `exec`, which writes `ct_mark` and `ct_label` alone",
        34..38,
    ),
    (
        "ip,actions=ct(commit,exec(move:ct_mark->reg0))",
        "`reg0` has no place in `exec`, which writes `ct_mark` and `ct_label` alone",
        26..30,
    ),
    (
        "ip,actions=ct(commit,exec(pop:ct_mark))",
        "`pop` has no place in `exec`, which writes `ct_mark` and `ct_label` alone",
        26..29,
    ),
    (
        "ip,actions=ct(commit,exec(ct(commit)))",
        "`ct` has no place in `exec`, which writes `ct_mark` and `ct_label` alone",
        26..28,
    ),
    (
        "ip,actions=ct(commit,exec(goto_table:4))",
        "`goto_table` cannot stand within another action",
        26..36,
    ),
    ("ip,actions=ct(commit,exec(load:1->ct_mark,drop))", "`drop` must stand alone", 42..46),
    ("ip,actions=ct(commit,exec(set_field:1->ct_zone))", "`ct_zone` is read-only", 39..46),
    (
        "ip,actions=ct(commit,exec(move:tcp_src->ct_mark[0..15]))",
        "`tcp_src` needs `tcp` in the match",
        26..30,
    ),
    (
        "ip,actions=ct(commit,exec(set_field:5->ct_label[0..3]))",
        "unknown field `ct_label[0..3]`",
        39..53,
    ),
    (
        "ip,actions=ct(commit,exec(load:0x10->ct_mark[0..3]))",
        "`0x10` does not fit the 4 bits of `ct_mark`",
        31..35,
    ),
    ("actions=set_field:1->ct_mark", "`ct_mark` is written within `ct(exec(...))` alone", 21..28),
    (
        "ip,actions=load:1->NXM_NX_CT_LABEL[0..3]",
        "`ct_label` is written within `ct(exec(...))` alone",
        19..40,
    ),
    (
        "ip,actions=clone(move:reg0->ct_mark)",
        "`ct_mark` is written within `ct(exec(...))` alone",
        17..21,
    ),
    (
        "ip,actions=write_actions(set_field:1->ct_mark)",
        "`ct_mark` is written within `ct(exec(...))` alone",
        38..45,
    ),
    ("actions=set_field:1->ct_state", "`ct_state` is read-only", 21..29),
    ("actions=pop:ct_zone", "`ct_zone` is read-only", 8..11),
    // Reading.
    (
        "ip,actions=move:ct_nw_src->reg0",
        "`ct_nw_src` needs `ct_state=+trk-inv` in the match",
        11..15,
    ),
    (
        "ip,actions=ct(table=1),move:ct_tp_src->reg0[0..15]",
        "`ct_tp_src` needs `ct_state=+trk-inv` in the match",
        23..27,
    ),
    // Learning.
    (
        "actions=learn(eth_type=0x800,ct_nw_src=1.2.3.4)",
        "`ct_nw_src` needs `ct_state=+trk-inv` in the match",
        8..13,
    ),
    (
        "actions=learn(ct_state=+trk)",
        "`ct_state` takes a value without a mask, found `+trk`",
        23..27,
    ),
    ("actions=learn(ct_state=0x121)", "`0x121` does not fit the 8 bits of `ct_state`", 23..28),
];

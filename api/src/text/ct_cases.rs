//! Flows that track connections as people write them, with what becomes of each. `tests` holds us to
//! it, `differential` OVS.

/// Spellings, and the one that is printed. OVS takes each and prints the same.
pub(super) const SPELLINGS: &[(&str, &str)] = &[
    // What has been found out.
    ("ct_state=+trk+new-est,actions=1", "ct_state=+new-est+trk actions=output:1"),
    ("ct_state=-trk,actions=1", "ct_state=-trk actions=output:1"),
    ("ct_state=trk|new,actions=1", "ct_state=new|trk actions=output:1"),
    ("ct_state=trk,actions=1", "ct_state=trk actions=output:1"),
    ("ct_state=33,actions=1", "ct_state=new|trk actions=output:1"),
    ("ct_state=0x21/0x23,actions=1", "ct_state=+new-est+trk actions=output:1"),
    ("ct_state=0x21/0xff,actions=1", "ct_state=new|trk actions=output:1"),
    ("ct_state=0,actions=1", "ct_state=0 actions=output:1"),
    ("ct_state=0xff,actions=1", "ct_state=new|est|rel|rpl|inv|trk|snat|dnat actions=output:1"),
    ("ct_state[0]=1,actions=1", "ct_state=+new actions=output:1"),
    ("ct_state[0..7]=0x21,actions=1", "ct_state=new|trk actions=output:1"),
    ("ct_state[0..31]=0x21,actions=1", "ct_state=new|trk actions=output:1"),
    ("ct_state=+new,ct_state=*,actions=1", "actions=output:1"),
    ("ct_state,ct_zone,ct_mark,ct_label,ct_nw_src=*,actions=1", "actions=output:1"),
    ("ct_zone=0x5,actions=1", "ct_zone=5 actions=output:1"),
    ("ct_zone=0,ct_mark=0,ct_label=0,actions=1", "ct_zone=0,ct_mark=0,ct_label=0 actions=output:1"),
    ("ct_mark=5/7,actions=1", "ct_mark=0x5/0x7 actions=output:1"),
    ("ct_mark=16,actions=1", "ct_mark=0x10 actions=output:1"),
    (
        "ct_label=0x123456789abcdef0123456789abcdef0,actions=1",
        "ct_label=0x123456789abcdef0123456789abcdef0 actions=output:1",
    ),
    ("ct_label=-1,actions=1", "ct_label=0xffffffffffffffff actions=output:1"),
    ("ct_label=0x105/0xff,actions=1", "ct_label=0x5/0xff actions=output:1"),
    (
        "ct_label[64..127]=7,actions=1",
        "ct_label=0x70000000000000000/0xffffffffffffffff0000000000000000 actions=output:1",
    ),
    // What the packet said that began the connection.
    (
        "pkt_mark=1,conj_id=2,reg0=1,tcp,ct_tp_dst=2,ct_tp_src=1,ct_nw_proto=6,ct_nw_dst=2.2.2.2,ct_nw_src=1.2.3.4,ct_label=1,ct_mark=0/1,ct_zone=5,ct_state=+new+trk,actions=1",
        "pkt_mark=0x1,conj_id=2,ct_state=+new+trk,ct_zone=5,ct_mark=0/0x1,ct_label=0x1,ct_nw_src=1.2.3.4,ct_nw_dst=2.2.2.2,ct_nw_proto=6,ct_tp_src=1,ct_tp_dst=2,tcp,reg0=0x1 actions=output:1",
    ),
    (
        "ct_state=+trk-inv,ip,ct_nw_src=1.2.3.4/24,ct_nw_dst=1.2.3.4/255.0.255.0,actions=1",
        "ct_state=-inv+trk,ct_nw_src=1.2.3.0/24,ct_nw_dst=1.0.3.0/255.0.255.0,ip actions=output:1",
    ),
    (
        "ipv6,ct_ipv6_src=fd00::1/8,ct_ipv6_dst=::1.2.3.4,ct_state=+est,actions=1",
        "ct_state=+est,ct_ipv6_src=fd00::/8,ct_ipv6_dst=::1.2.3.4,ipv6 actions=output:1",
    ),
    (
        "ct_state=+rel,ip,ct_nw_src=0.0.0.0,actions=1",
        "ct_state=+rel,ct_nw_src=0.0.0.0,ip actions=output:1",
    ),
    (
        "ct_state=+rpl,ip,ct_nw_src=1.2.3.4,actions=1",
        "ct_state=+rpl,ct_nw_src=1.2.3.4,ip actions=output:1",
    ),
    (
        "ct_state=+snat,ip,ct_nw_src[24..31]=5,actions=1",
        "ct_state=+snat,ct_nw_src=5.0.0.0/8,ip actions=output:1",
    ),
    ("ct_state=+dnat,ct_nw_proto=6,actions=1", "ct_state=+dnat,ct_nw_proto=6 actions=output:1"),
    (
        "ct_state=+new,ct_nw_proto=0x6,ct_tp_src=0x50/0xfff0,ct_tp_dst=0/0xff,actions=1",
        "ct_state=+new,ct_nw_proto=6,ct_tp_src=0x50/0xfff0,ct_tp_dst=0x0/0xff actions=output:1",
    ),
    (
        "ct_state=+new+trk,ipv6,ct_nw_proto=58,ct_tp_src=128,ct_tp_dst=0,actions=1",
        "ct_state=+new+trk,ct_nw_proto=58,ct_tp_src=128,ct_tp_dst=0,ipv6 actions=output:1",
    ),
    (
        "ct_state=+new,ct_nw_proto=6,ct_tp_src,ct_tp_dst=*,actions=1",
        "ct_state=+new,ct_nw_proto=6 actions=output:1",
    ),
    // Tracking.
    ("ip,actions=ct", "ip actions=ct()"),
    ("ipv6,actions=CT(),ct_clear", "ipv6 actions=ct(),ct_clear"),
    ("actions=ct_clear,CT_Clear()", "actions=ct_clear,ct_clear"),
    ("ip,actions=ct:commit,ct=commit", "ip actions=ct(commit),ct(commit)"),
    ("ip,actions=ct(commit,,commit )", "ip actions=ct(commit)"),
    (
        "tcp,actions=ct(alg=ftp,nat(dst=1.2.3.4:80),exec(load:1->ct_mark),zone=5 table=3,force,commit),2",
        "tcp actions=ct(commit,force,table=3,zone=5,nat(dst=1.2.3.4:80),exec(set_field:0x1->ct_mark),alg=ftp),output:2",
    ),
    ("udp6,actions=ct(alg=tftp)", "udp6 actions=ct(alg=tftp)"),
    ("table=5,ip,actions=ct(table=3)", "table=5, ip actions=ct(table=3)"),
    ("ip,actions=ct(table=0),goto_table:3", "ip actions=ct(table=0),goto_table:3"),
    ("ip,actions=ct(table=3,table=4,zone=3,zone=0)", "ip actions=ct(table=4)"),
    ("ip,actions=ct(zone=0x5),ct(zone:65535)", "ip actions=ct(zone=5),ct(zone=65535)"),
    ("ip,actions=ct(zone=reg0[16..31])", "ip actions=ct(zone=NXM_NX_REG0[16..31])"),
    ("ip,actions=ct(zone=ct_zone)", "ip actions=ct(zone=NXM_NX_CT_ZONE[])"),
    (
        "ip,actions=ct(zone=NXM_OF_IN_PORT[]),ct(zone=ct_label[64..79])",
        "ip actions=ct(zone=NXM_OF_IN_PORT[]),ct(zone=NXM_NX_CT_LABEL[64..79])",
    ),
    ("tcp,actions=ct(zone=tp_dst)", "tcp actions=ct(zone=NXM_OF_TCP_DST[])"),
    ("ct_state=+inv+trk,ip,actions=ct(table=3)", "ct_state=+inv+trk,ip actions=ct(table=3)"),
    ("ct_state=-inv+trk,ip,actions=ct(commit)", "ct_state=-inv+trk,ip actions=ct(commit)"),
    ("ip,nw_frag=later,actions=ct(commit)", "ip,nw_frag=later actions=ct(commit)"),
    // Translating.
    ("ip,actions=ct(nat),ct(nat()),ct(nat=)", "ip actions=ct(nat),ct(nat),ct(nat)"),
    (
        "ip,actions=ct(commit,nat=src),ct(commit,nat:dst)",
        "ip actions=ct(commit,nat(src)),ct(commit,nat(dst))",
    ),
    (
        "ip,actions=ct(commit,nat(src:1.2.3.4)),ct(commit,nat(src(1.2.3.4)))",
        "ip actions=ct(commit,nat(src=1.2.3.4)),ct(commit,nat(src=1.2.3.4))",
    ),
    (
        "ip,actions=ct(commit,nat(dst=1.2.3.4-1.2.3.4:80-80))",
        "ip actions=ct(commit,nat(dst=1.2.3.4:80))",
    ),
    (
        "ip,actions=ct(commit,nat( random persistent,src=1.2.3.4-1.2.3.10:80-90 ))",
        "ip actions=ct(commit,nat(src=1.2.3.4-1.2.3.10:80-90,persistent,random))",
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4,hash,hash,src=1.2.3.5))",
        "ip actions=ct(commit,nat(src=1.2.3.5,hash))",
    ),
    (
        "ipv6,actions=ct(commit,nat(src=[fd00::1]-[FD00:0::9])),ct(commit,nat(dst=fd00::1-[fd00::9]:5))",
        "ipv6 actions=ct(commit,nat(src=fd00::1-fd00::9)),ct(commit,nat(dst=[fd00::1]-[fd00::9]:5))",
    ),
    (
        "ipv6,actions=ct(commit,nat(src=fd00::1:80)),ct(commit,nat(src=[::1.2.3.4]:1-2))",
        "ipv6 actions=ct(commit,nat(src=fd00::1:80)),ct(commit,nat(src=[::1.2.3.4]:1-2))",
    ),
    (
        "ip,actions=ct(exec(nat)),ct(commit,exec(nat(dst=1.2.3.4)))",
        "ip actions=ct(nat),ct(commit,nat(dst=1.2.3.4))",
    ),
    // Marking.
    (
        "ip,actions=ct(commit,exec(load:1->NXM_NX_CT_MARK[],set_field:1/3->ct_mark,load:1->ct_mark[0..3]))",
        "ip actions=ct(commit,exec(set_field:0x1->ct_mark,set_field:0x1/0x3->ct_mark,set_field:0x1/0xf->ct_mark))",
    ),
    (
        "ip,actions=ct(commit,exec(load:5->ct_label[64..127]),exec(load:0xffffffffffffffffff->ct_label))",
        "ip actions=ct(commit,exec(set_field:0x50000000000000000/0xffffffffffffffff0000000000000000->ct_label,set_field:0xffffffffffffffffff->ct_label))",
    ),
    (
        "tcp,actions=ct(commit,exec(move:reg0->ct_mark,move:xxreg0->ct_label,move:ct_mark->ct_label[0..31],move:tcp_src->ct_mark[0..15]))",
        "tcp actions=ct(commit,exec(move:NXM_NX_REG0[]->NXM_NX_CT_MARK[],move:NXM_NX_XXREG0[]->NXM_NX_CT_LABEL[],move:NXM_NX_CT_MARK[]->NXM_NX_CT_LABEL[0..31],move:NXM_OF_TCP_SRC[]->NXM_NX_CT_MARK[0..15]))",
    ),
    (
        "ip,actions=ct(exec),ct(exec()),ct(commit,exec(drop)),ct(commit,exec:drop)",
        "ip actions=ct(),ct(),ct(commit),ct(commit)",
    ),
    (
        "ip,actions=ct(commit,exec=load:1->ct_mark)",
        "ip actions=ct(commit,exec(set_field:0x1->ct_mark))",
    ),
    (
        "ip,actions=clone(ct(commit,exec(set_field:1->ct_mark)))",
        "ip actions=clone(ct(commit,exec(set_field:0x1->ct_mark)))",
    ),
    (
        "ip,actions=write_actions(ct(table=1),output:2,ct_clear)",
        "ip actions=write_actions(ct(table=1),output:2,ct_clear)",
    ),
    // Reading.
    (
        "actions=push:ct_state,push:ct_label,output:ct_mark,output:NXM_NX_CT_ZONE[]",
        "actions=push:NXM_NX_CT_STATE[],push:NXM_NX_CT_LABEL[],output:NXM_NX_CT_MARK[],output:NXM_NX_CT_ZONE[]",
    ),
    (
        "actions=move:NXM_NX_CT_MARK[]->NXM_NX_REG0[],move:ct_state->reg0,move:ct_state[0..8]->reg0[0..8]",
        "actions=move:NXM_NX_CT_MARK[]->NXM_NX_REG0[],move:NXM_NX_CT_STATE[]->NXM_NX_REG0[],move:NXM_NX_CT_STATE[0..8]->NXM_NX_REG0[0..8]",
    ),
    (
        "ct_state=+est+trk,ip,actions=ct_clear,move:ct_nw_src->nw_dst,move:ct_tp_src->reg0[0..15],move:ct_nw_proto->reg0[0..7]",
        "ct_state=+est+trk,ip actions=ct_clear,move:NXM_NX_CT_NW_SRC[]->NXM_OF_IP_DST[],move:NXM_NX_CT_TP_SRC[]->NXM_NX_REG0[0..15],move:NXM_NX_CT_NW_PROTO[]->NXM_NX_REG0[0..7]",
    ),
    (
        "ct_state=+est+trk,ipv6,actions=move:ct_ipv6_src->xxreg0",
        "ct_state=+est+trk,ipv6 actions=move:NXM_NX_CT_IPV6_SRC[]->NXM_NX_XXREG0[]",
    ),
    // Learning.
    (
        "actions=learn(ct_mark=5,NXM_NX_CT_MARK[],ct_mark[0..3]=5,ct_label=0x123456789abcdef012345,ct_zone=5,ct_zone=0,NXM_NX_CT_STATE[5]=1)",
        "actions=learn(table=1,ct_mark=0x5,NXM_NX_CT_MARK[],NXM_NX_CT_MARK[0..3]=0x5,ct_label=0x123456789abcdef012345,ct_zone=0x5,ct_zone=0,NXM_NX_CT_STATE[5]=0x1)",
    ),
    (
        "ct_state=+est,ip,actions=learn(eth_type=0x800,nw_src=ct_nw_src,NXM_NX_CT_STATE[0..7]=0x22,ct_nw_dst,load:NXM_NX_CT_MARK[]->NXM_NX_REG0[],output:ct_mark)",
        "ct_state=+est,ip actions=learn(table=1,eth_type=0x800,NXM_OF_IP_SRC[]=NXM_NX_CT_NW_SRC[],NXM_NX_CT_STATE[0..7]=0x22,NXM_NX_CT_NW_DST[],load:NXM_NX_CT_MARK[]->NXM_NX_REG0[],output:NXM_NX_CT_MARK[])",
    ),
];

/// The same over OpenFlow 1.0.
pub(super) const OLD_SPELLINGS: &[(&str, &str)] = &[
    (
        "ip,actions=ct(commit,exec(set_field:1->ct_mark,load:5->ct_label[10..70],set_field:0x100/0xf00->ct_mark))",
        "ip actions=ct(commit,exec(load:0x1->NXM_NX_CT_MARK[],load:0x5->NXM_NX_CT_LABEL[10..70],load:0x1->NXM_NX_CT_MARK[8..11]))",
    ),
    (
        "tcp,ct_state=+new,ct_nw_src=1.2.3.4,actions=ct(commit,table=3,nat(src=1.2.3.4),alg=ftp),ct_clear",
        "ct_state=+new,ct_nw_src=1.2.3.4,tcp actions=ct(commit,table=3,nat(src=1.2.3.4),alg=ftp),ct_clear",
    ),
];

/// Where our form over OpenFlow 1.0 differs from that of OVS, and why.
pub(super) const OLD_DEVIATIONS: &[(&str, &str, &str)] = &[
    (
        "ip,actions=ct(commit,exec(set_field:5->ct_label))",
        "ip actions=ct(commit,exec(set_field:0x5->ct_label))",
        "OVS prints two actions",
    ),
    (
        "ip,actions=ct(commit,exec(set_field:1/0xf0f->ct_mark))",
        "ip actions=ct(commit,exec(set_field:0x1/0xf0f->ct_mark))",
        "as above",
    ),
];

/// Where we differ from OVS: what we make of the flow, and why.
pub(super) const DEVIATIONS: &[(&str, Result<&str, &str>, &str)] = &[
    // What OVS loses.
    (
        "ip,actions=ct(commit,nat(src,random)),ct(commit,nat(dst,persistent,hash))",
        Ok("ip actions=ct(commit,nat(src,random)),ct(commit,nat(dst,persistent,hash))"),
        "OVS loses the words behind `src` and `dst`",
    ),
    (
        "ip,actions=ct(commit,nat(src=0.0.0.0))",
        Ok("ip actions=ct(commit,nat(src=0.0.0.0))"),
        "OVS loses the zero address",
    ),
    ("ipv6,actions=ct(commit,nat(src=::))", Ok("ipv6 actions=ct(commit,nat(src=::))"), "as above"),
    (
        "ct_state=+new,ct_nw_proto=0,actions=1",
        Ok("ct_state=+new,ct_nw_proto=0 actions=output:1"),
        "OVS loses the field and matches everything",
    ),
    (
        "ct_state=+new+trk,ip,ct_tp_src=8,actions=1",
        Err("`ct_tp_src` needs `ct_nw_proto` in the match"),
        "as above",
    ),
    ("ct_state[8]=1,actions=1", Err("`ct_state` has only the bits 0 to 7"), "as above"),
    ("ct_state=,actions=1", Err("`ct_state` needs a value"), "as above"),
    (
        "actions=learn(ct_state=trk|new),learn(NXM_NX_CT_STATE[]=NXM_NX_REG0[])",
        Ok(
            "actions=learn(table=1,ct_state=new|trk),learn(table=1,NXM_NX_CT_STATE[]=NXM_NX_REG0[])",
        ),
        "OVS prints its 24 bits without a name",
    ),
    // What OVS takes for something else.
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4:0))",
        Err("`src` takes ports from 1 to 65535, found `0`"),
        "OVS reads no port",
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4:65536))",
        Err("`65536` does not fit the 16 bits of `src`"),
        "as above",
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4:010))",
        Err("`010` is octal to some and decimal to others: drop the leading zero, or use 0x"),
        "no leading zeros anywhere",
    ),
    (
        "ip,actions=ct(zone=010)",
        Err("`010` is octal to some and decimal to others: drop the leading zero, or use 0x"),
        "octal",
    ),
    (
        "ip,actions=ct(commit,nat(src=[1.2.3.4]))",
        Err(
            "`src` takes addresses and ports, as in `10.0.0.1-10.0.0.9:80-90` or `[fd00::1]:80`, found `[1.2.3.4]`",
        ),
        "OVS reads no address",
    ),
    ("ip,actions=ct(commit,nat(src=))", Err("`src` needs a value"), "as above"),
    ("ip,actions=ct(zone=reg0[0..15],zone=0)", Ok("ip actions=ct()"), "the last wins"),
    (
        "ip,actions=ct(commit,nat,nat(src))",
        Ok("ip actions=ct(commit,nat(src))"),
        "OVS puts the second into `exec`",
    ),
    (
        "ip,actions=ct(commit,exec(load:1->ct_mark),nat(src))",
        Ok("ip actions=ct(commit,nat(src),exec(set_field:0x1->ct_mark))"),
        "as above",
    ),
    (
        "ip,actions=ct(commit,exec(set_field:0x1->ct_mark,nat(src)))",
        Ok("ip actions=ct(commit,nat(src),exec(set_field:0x1->ct_mark))"),
        "as above",
    ),
    // What OVS does not look at.
    ("ip,actions=ct(commit=1)", Err("`commit` takes no value"), "OVS ignores it"),
    ("ip,actions=ct(commit,force:no)", Err("`force` takes no value"), "OVS ignores it"),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4,random=1))",
        Err("`random` takes no value"),
        "OVS ignores it",
    ),
    (
        "ip,actions=ct(commit,nat(src=1.2.3.4,persistent=1))",
        Err("`persistent` takes no value"),
        "OVS ignores it",
    ),
    ("actions=ct_clear:3", Err("`ct_clear` takes no value"), "OVS ignores it"),
    (
        "ipv6,actions=ct(commit,zone=reg0[0..15],nat(src=1.2.3.4))",
        Err("`nat` needs `ip` in the match"),
        "OVS does not look behind a zone from a field",
    ),
    (
        "ip,actions=ct(commit,zone=reg0[0..15],exec(move:tcp_src->ct_mark[0..15]))",
        Err("`tcp_src` needs `tcp` in the match"),
        "as above",
    ),
    (
        "actions=pop:ct_mark",
        Err("`ct_mark` is written within `ct(exec(...))` alone"),
        "`load` and `move` may not either",
    ),
    (
        "actions=check_pkt_larger(100)->ct_mark[0]",
        Err("`ct_mark` is written within `ct(exec(...))` alone"),
        "as above",
    ),
    (
        "actions=multipath(eth_src,0,hrw,2,0,ct_label[0..3])",
        Err("`ct_label` is written within `ct(exec(...))` alone"),
        "as above",
    ),
    (
        "actions=bundle_load(eth_src,0,hrw,ofport,ct_mark,members:1)",
        Err("`ct_mark` is written within `ct(exec(...))` alone"),
        "as above",
    ),
    (
        "actions=learn(load:5->ct_mark)",
        Err("`ct_mark` is written within `ct(exec(...))` alone"),
        "as above",
    ),
    (
        "actions=learn(result_dst=ct_mark[0])",
        Err("`ct_mark` is written within `ct(exec(...))` alone"),
        "as above",
    ),
    (
        "ct_state=+est+trk,actions=move:ct_nw_src->reg0",
        Err("`ct_nw_src` needs `ip` in the match"),
        "other packets have another address there, or none",
    ),
    (
        "ct_state=+est+trk,ip,actions=move:ct_ipv6_src->xxreg0",
        Err("`ct_ipv6_src` needs `ipv6` in the match"),
        "as above",
    ),
    (
        "actions=learn(ct_state=0x21,ct_nw_src=1.2.3.4)",
        Err("`ct_nw_src` needs `ip` in the match"),
        "a flow cannot match it so",
    ),
    (
        "actions=learn(ct_state=0x21,ct_tp_src=80)",
        Err("`ct_tp_src` needs `ct_nw_proto` in the match"),
        "as above",
    ),
    (
        "tcp,nw_frag=later,actions=ct(commit,alg=ftp)",
        Err("`alg=ftp` needs `nw_frag=not_later` in the match"),
        "later fragments have no transport header",
    ),
    // Limits.
    (
        "ip,actions=ct(table=254)",
        Err("`table` takes a table from 0 to 253, found `254`"),
        "it is not ours",
    ),
];

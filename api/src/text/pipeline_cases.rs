//! Flows with the actions and fields of whole pipelines as people write them, with what becomes of
//! each. `tests` holds us to it, `differential` OVS.

/// Spellings, and the one that is printed. OVS takes each and prints the same.
pub(super) const SPELLINGS: &[(&str, &str)] = &[
    // Fields.
    (
        "reg15=5,xreg0=0x500000006,xxreg1=7,pkt_mark=0x5,conj_id=5,tun_id=6,metadata=3,in_port=1,actions=1",
        "pkt_mark=0x5,conj_id=5,reg0=0x5,reg1=0x6,reg4=0,reg5=0,reg6=0,reg7=0x7,reg15=0x5,tun_id=0x6,metadata=0x3,in_port=1 actions=output:1",
    ),
    ("xreg0=5/0xf,xxreg1=0xf/0xff00000000,actions=1", "reg1=0x5/0xf,reg6=0/0xff actions=output:1"),
    ("xxreg0[0..3]=5,actions=1", "reg3=0x5/0xf actions=output:1"),
    ("xreg7=-1,actions=1", "reg14=0xffffffff,reg15=0xffffffff actions=output:1"),
    (
        "tunnel_id=5/0xf,pkt_mark=5/0xf,actions=1",
        "pkt_mark=0x5/0xf,tun_id=0x5/0xf actions=output:1",
    ),
    ("packet_type=(0,0),actions=1", "actions=output:1"),
    ("packet_type=(1,0x800),actions=1", "packet_type=(1,0x800) actions=output:1"),
    ("packet_type=(10,2048),actions=1", "packet_type=(0xa,0x800) actions=output:1"),
    ("eth,packet_type=(1,9),actions=1", "packet_type=(1,9) actions=output:1"),
    ("packet_type=*,pkt_mark,conj_id,actions=1", "actions=output:1"),
    (
        "icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::1/64,nd_sll=1:2:3:4:5:6,actions=1",
        "icmp6,icmp_type=135,icmp_code=0,nd_target=fd00::/64,nd_sll=01:02:03:04:05:06 actions=output:1",
    ),
    (
        "nd_tll=1:2:3:4:5:6/ff:ff:ff:00:00:00,icmp_type=136,nd_target=fd00::1,icmp6,actions=1",
        "icmp6,icmp_type=136,nd_target=fd00::1,nd_tll=01:02:03:00:00:00/ff:ff:ff:00:00:00 actions=output:1",
    ),
    ("sctp,sctp_src=5,actions=1", "sctp,tp_src=5 actions=output:1"),
    // Sending.
    ("actions=output:reg0[0..15]", "actions=output:NXM_NX_REG0[0..15]"),
    (
        "actions=output(reg0),output:in_port[]",
        "actions=output:NXM_NX_REG0[],output:NXM_OF_IN_PORT[]",
    ),
    ("actions=output(max_len=100,port=3)", "actions=output(port=3,max_len=100)"),
    ("actions=output(port=in_port,max_len=14)", "actions=output(port=IN_PORT,max_len=14)"),
    (
        "actions=controller,controller(),Controller:128",
        "actions=CONTROLLER:65535,CONTROLLER:65535,CONTROLLER:128",
    ),
    ("actions=output:controller,controller(max_len=0)", "actions=CONTROLLER:65535,CONTROLLER:0"),
    ("actions=controller(reason=group,reason=action,userdata=)", "actions=CONTROLLER:65535"),
    (
        "actions=controller(pause,id=3,reason=no_match,userdata=01.02ff,meter_id=7,max_len=128)",
        "actions=controller(reason=no_match,max_len=128,id=3,userdata=01.02.ff,pause,meter_id=7)",
    ),
    ("actions=enqueue:3:1", "actions=set_queue:1,output:3,pop_queue"),
    ("actions=enqueue(local,5)", "actions=set_queue:5,LOCAL,pop_queue"),
    (
        "actions=enqueue:3q0x10,enqueue:in_port:2",
        "actions=set_queue:16,output:3,pop_queue,set_queue:2,IN_PORT,pop_queue",
    ),
    ("actions=group:9,set_queue:5,pop_queue,exit", "actions=group:9,set_queue:5,pop_queue,exit"),
    // Instructions.
    ("actions=meter:4,clone(1)", "actions=meter:4,clone(output:1)"),
    ("actions=write_actions()", "actions=drop"),
    ("actions=write_actions(drop)", "actions=drop"),
    (
        "actions=write_actions(output:1,2,normal,group:3,controller:5)",
        "actions=write_actions(output:1,output:2,NORMAL,group:3,CONTROLLER:5)",
    ),
    (
        "ip,actions=write_actions(dec_ttl,load:1->reg0[3..4],move:reg0->reg1,set_queue:3,resubmit(,3))",
        "ip actions=write_actions(dec_ttl,set_field:0x8/0x18->reg0,move:NXM_NX_REG0[]->NXM_NX_REG1[],set_queue:3,resubmit(,3))",
    ),
    (
        "dl_vlan=5,actions=write_actions(mod_vlan_vid:7,strip_vlan)",
        "dl_vlan=5 actions=write_actions(set_field:4103->vlan_vid,pop_vlan)",
    ),
    (
        "actions=meter:1,1,clear_actions,write_actions(output:2),write_metadata:5/5,goto_table:7",
        "actions=meter:1,output:1,clear_actions,write_actions(output:2),write_metadata:0x5/0x5,goto_table:7",
    ),
    // Fields kept and written.
    ("actions=push:reg3,pop(reg4[])", "actions=push:NXM_NX_REG3[],pop:NXM_NX_REG4[]"),
    (
        "actions=push:xxreg1[3..100],push:eth_src[0..47]",
        "actions=push:NXM_NX_XXREG1[3..100],push:NXM_OF_ETH_SRC[]",
    ),
    (
        "actions=set_tunnel:5,set_tunnel64:5,set_field:0x100000000->tunnel_id",
        "actions=set_field:0x5->tun_id,set_field:0x5->tun_id,set_field:0x100000000->tun_id",
    ),
    (
        "actions=set_field:5->xreg1,set_field:5/0xff->xxreg1",
        "actions=set_field:0x5->xreg1,set_field:0x5/0xff->xxreg1",
    ),
    (
        "actions=load:5->xxreg1[32..95]",
        "actions=set_field:0x500000000/0xffffffffffffffff00000000->xxreg1",
    ),
    (
        "actions=load:0xffffffffffffffffff->xxreg1[]",
        "actions=set_field:0xffffffffffffffffff->xxreg1",
    ),
    ("actions=load:5->OXM_OF_PKT_REG1[3..40]", "actions=set_field:0x28/0x1fffffffff8->xreg1"),
    ("actions=move:reg0->xxreg1[0..31]", "actions=move:NXM_NX_REG0[]->NXM_NX_XXREG1[0..31]"),
    ("actions=set_field:5/0xf->pkt_mark", "actions=set_field:0x5/0xf->pkt_mark"),
    (
        "icmp6,icmp_type=135,actions=set_field:fd00::1->nd_target,set_field:1:2:3:4:5:6->nd_sll",
        "icmp6,icmp_type=135 actions=set_field:fd00::1->nd_target,set_field:01:02:03:04:05:06->nd_sll",
    ),
    ("actions=check_pkt_larger(1400)->reg0[0]", "actions=check_pkt_larger(1400)->NXM_NX_REG0[0]"),
    (
        "actions=check_pkt_larger:0->NXM_NX_XXREG0[100]",
        "actions=check_pkt_larger(0)->NXM_NX_XXREG0[100]",
    ),
    (
        "ip,actions=dec_ttl(1 2),dec_ttl:5,dec_ttl(0)",
        "ip actions=dec_ttl(1,2),dec_ttl(5),dec_ttl(0)",
    ),
    // Choices.
    (
        "actions=multipath(symmetric_l4,0,hrw,16,0,reg1[0..3])",
        "actions=multipath(symmetric_l4,0,hrw,16,0,NXM_NX_REG1[0..3])",
    ),
    (
        "actions=multipath(eth_src 50 iter_hash 65536 7 reg3)",
        "actions=multipath(eth_src,50,iter_hash,65536,7,NXM_NX_REG3[])",
    ),
    (
        "actions=multipath(symmetric_l3l4+udp,50,modulo_n,1,0,xreg1)",
        "actions=multipath(symmetric_l3l4+udp,50,modulo_n,1,0,OXM_OF_PKT_REG1[])",
    ),
    (
        "actions=bundle(eth_src,0,active_backup,ofport,slaves:4,local)",
        "actions=bundle(eth_src,0,active_backup,ofport,members:4,LOCAL)",
    ),
    (
        "actions=bundle(eth_src 0 hrw ofport members:)",
        "actions=bundle(eth_src,0,hrw,ofport,members:)",
    ),
    (
        "actions=bundle_load(nw_dst,7,hrw,ofport,reg0[0..15],members:1,2)",
        "actions=bundle_load(nw_dst,7,hrw,ofport,NXM_NX_REG0[0..15],members:1,2)",
    ),
    // Learning.
    (
        "actions=learn,learn(),learn(table=1,table=2)",
        "actions=learn(table=1),learn(table=1),learn(table=2)",
    ),
    (
        "actions=learn(result_dst=reg0[3],limit=4,cookie=0x9,delete_learned,send_flow_rem,priority=7,fin_hard_timeout=6,fin_idle_timeout=5,hard_timeout=20,idle_timeout=10,table=2,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
        "actions=learn(table=2,idle_timeout=10,hard_timeout=20,fin_idle_timeout=5,fin_hard_timeout=6,priority=7,send_flow_rem,delete_learned,cookie=0x9,limit=4,result_dst=NXM_NX_REG0[3],NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    ),
    (
        "actions=learn(eth_type=0x800,load:5->reg0[0..3],load:reg1[0..3]->reg2[4..7])",
        "actions=learn(table=1,eth_type=0x800,load:0x5->NXM_NX_REG0[0..3],load:NXM_NX_REG1[0..3]->NXM_NX_REG2[4..7])",
    ),
    (
        "ip,actions=learn(eth_type=0x800,nw_src,nw_dst=1.2.3.4,nw_proto=6,tcp_dst=80)",
        "ip actions=learn(table=1,eth_type=0x800,NXM_OF_IP_SRC[],ip_dst=1.2.3.4,nw_proto=6,tcp_dst=80)",
    ),
    (
        "tcp,actions=learn(eth_type=0x800,nw_proto=6,tcp_dst=tcp_src,tcp_src[0..7]=5,reg1[0..3]=0xf,xreg1=5)",
        "tcp actions=learn(table=1,eth_type=0x800,nw_proto=6,NXM_OF_TCP_DST[]=NXM_OF_TCP_SRC[],NXM_OF_TCP_SRC[0..7]=0x5,NXM_NX_REG1[0..3]=0xf,xreg1=0x5)",
    ),
    (
        "actions=learn(eth_dst=1:2:3:4:5:6,eth_src[]=eth_src[],in_port=local,reg0=0)",
        "actions=learn(table=1,eth_dst=01:02:03:04:05:06,NXM_OF_ETH_SRC[],in_port=LOCAL,reg0=0)",
    ),
    (
        "actions=learn(eth_type=0x86dd,ip_frag=later,ipv6_label=5,nw_tos=32,ipv6_src=fd00::2)",
        "actions=learn(table=1,eth_type=0x86dd,ip_frag=later,ipv6_label=0x5,nw_tos=32,ipv6_src=fd00::2)",
    ),
    (
        "actions=learn(vlan_tci=0x1005,vlan_pcp=3,load:3->vlan_vid,load:0x1->NXM_OF_VLAN_TCI[12])",
        "actions=learn(table=1,vlan_tci=0x1005,vlan_pcp=3,load:0x3->OXM_OF_VLAN_VID[],load:0x1->NXM_OF_VLAN_TCI[12])",
    ),
    (
        "arp,actions=learn(eth_type=0x806,arp_op,load:NXM_OF_ARP_OP[]->NXM_OF_ARP_OP[])",
        "arp actions=learn(table=1,eth_type=0x806,NXM_OF_ARP_OP[],load:NXM_OF_ARP_OP[]->NXM_OF_ARP_OP[])",
    ),
    ("actions=clone(learn(cookie=-1))", "actions=clone(learn(table=1,cookie=0xffffffffffffffff))"),
    // Others.
    (
        "tcp,actions=fin_timeout(hard_timeout=6,idle_timeout=5),fin_timeout()",
        "tcp actions=fin_timeout(idle_timeout=5,hard_timeout=6),fin_timeout()",
    ),
    (
        "actions=conjunction(7, 1/2),note:01,conjunction(8,64/64)",
        "actions=conjunction(7,1/2),note:01.00.00.00.00.00,conjunction(8,64/64)",
    ),
    (
        "actions=note,note:,note:aa..bb,note:aabbccddeeff00",
        "actions=note:00.00.00.00.00.00,note:00.00.00.00.00.00,note:aa.bb.00.00.00.00,note:aa.bb.cc.dd.ee.ff.00.00.00.00.00.00.00.00",
    ),
    (
        "actions=sample(probability=100)",
        "actions=sample(probability=100,collector_set_id=0,obs_domain_id=0,obs_point_id=0)",
    ),
    (
        "actions=sample(egress,obs_point_id=3,obs_domain_id=2,collector_set_id=1,probability=100,sampling_port=local)",
        "actions=sample(probability=100,collector_set_id=1,obs_domain_id=2,obs_point_id=3,sampling_port=LOCAL,egress)",
    ),
];

/// The same over OpenFlow 1.0.
pub(super) const OLD_SPELLINGS: &[(&str, &str)] = &[
    ("dl_vlan=0xffff,actions=1", "vlan_tci=0x0000 actions=output:1"),
    (
        "actions=set_field:5->reg0,load:5->reg0[3..7]",
        "actions=load:0x5->NXM_NX_REG0[],load:0x5->NXM_NX_REG0[3..7]",
    ),
    ("actions=set_field:0x100/0xff00->metadata", "actions=load:0x1->OXM_OF_METADATA[8..15]"),
    (
        "actions=load:5->xxreg1[32..95],set_field:0->xreg1",
        "actions=load:0x5->NXM_NX_XXREG1[32..95],load:0->OXM_OF_PKT_REG1[]",
    ),
    (
        "tcp,actions=mod_dl_src:1:2:3:4:5:6,set_field:1.2.3.4->ip_dst,mod_tp_dst:80,mod_nw_tos:184,set_field:64->nw_ttl,mod_nw_ecn:1",
        "tcp actions=mod_dl_src:01:02:03:04:05:06,mod_nw_dst:1.2.3.4,mod_tp_dst:80,mod_nw_tos:184,load:0x40->NXM_NX_IP_TTL[],load:0x1->NXM_NX_IP_ECN[]",
    ),
    ("udp6,actions=set_field:80->udp_src", "udp6 actions=mod_tp_src:80"),
    ("sctp,actions=set_field:80->sctp_dst", "sctp actions=load:0x50->OXM_OF_SCTP_DST[]"),
    (
        "dl_vlan=3,actions=set_field:4099->vlan_vid,set_vlan_pcp:3,pop_vlan",
        "dl_vlan=3 actions=mod_vlan_vid:3,mod_vlan_pcp:3,strip_vlan",
    ),
    ("actions=mod_vlan_vid:7", "actions=mod_vlan_vid:7"),
    (
        "arp,actions=set_field:2->arp_op,set_field:1.2.3.4->arp_spa",
        "arp actions=load:0x2->NXM_OF_ARP_OP[],load:0x1020304->NXM_OF_ARP_SPA[]",
    ),
    ("actions=set_field:local->in_port", "actions=load:0xfffe->NXM_OF_IN_PORT[]"),
    ("actions=enqueue:3:1,enqueue(local,2)", "actions=enqueue:3:1,enqueue:LOCAL:2"),
    (
        "actions=set_tunnel:5,set_tunnel:0x100000000",
        "actions=set_tunnel:0x5,set_tunnel64:0x100000000",
    ),
    ("actions=load:5->tun_id[0..3]", "actions=load:0x5->NXM_NX_TUN_ID[0..3]"),
    ("actions=clone(set_field:5->pkt_mark)", "actions=clone(load:0x5->NXM_NX_PKT_MARK[])"),
    ("actions=learn(load:5->reg0)", "actions=learn(table=1,load:0x5->NXM_NX_REG0[])"),
    ("ipv6,actions=set_field:5/7->ipv6_label", "ipv6 actions=load:0x5->NXM_NX_IPV6_LABEL[0..2]"),
];

/// Where our form over OpenFlow 1.0 differs from that of OVS, and why.
pub(super) const OLD_DEVIATIONS: &[(&str, &str, &str)] = &[
    ("actions=goto_table:5", "actions=goto_table:5", "OVS prints `resubmit(,5)`"),
    ("actions=write_actions(1)", "actions=write_actions(output:1)", "OVS prints nothing"),
    (
        "actions=clear_actions,goto_table:1",
        "actions=clear_actions,goto_table:1",
        "OVS prints nothing",
    ),
    ("actions=meter:4", "actions=meter:4", "OVS has no form for it"),
    (
        "actions=push_vlan:0x8100,set_vlan_vid:5",
        "actions=push_vlan:0x8100,mod_vlan_vid:5",
        "as above",
    ),
    (
        "vlan_tci=0,actions=mod_vlan_vid:5",
        "vlan_tci=0x0000 actions=push_vlan:0x8100,mod_vlan_vid:5",
        "what pushes is said",
    ),
    (
        "actions=set_field:0x500/0xf0f->reg0",
        "actions=set_field:0x500/0xf0f->reg0",
        "OVS prints two actions",
    ),
    ("actions=set_field:5->xxreg0", "actions=set_field:0x5->xxreg0", "as above"),
    (
        "ipv6,actions=set_field:fd00::1->ipv6_dst",
        "ipv6 actions=set_field:fd00::1->ipv6_dst",
        "as above",
    ),
    (
        "dl_vlan=3,actions=set_field:0x1005->vlan_tci",
        "dl_vlan=3 actions=set_field:0x1005->vlan_tci",
        "as above",
    ),
    (
        "actions=set_field:1:2:0:0:0:0/ff:ff:0:0:0:0->eth_dst",
        "actions=set_field:01:02:00:00:00:00/ff:ff:00:00:00:00->eth_dst",
        "OVS loses the mask",
    ),
    (
        "tcp,actions=set_field:80/0xff->tcp_dst",
        "tcp actions=set_field:80/0xff->tcp_dst",
        "as above",
    ),
    (
        "ip,actions=set_field:184->nw_tos",
        "ip actions=set_field:184->nw_tos",
        "the word is `ip_dscp`'s",
    ),
    ("actions=set_field:5->tun_id", "actions=set_tunnel:0x5", "one action, one print"),
    ("actions=set_queue:1,output:3,pop_queue", "actions=enqueue:3:1", "as above"),
];

/// Where we differ from OVS: what we make of the flow, and why.
pub(super) const DEVIATIONS: &[(&str, Result<&str, &str>, &str)] = &[
    (
        "reg20=5,xreg8=1,xxreg7=0,actions=1",
        Ok("reg16=0,reg17=0x1,reg20=0x5,reg28=0,reg29=0,reg30=0,reg31=0 actions=output:1"),
        "OVS 3.1 has 16 registers",
    ),
    ("tcp,tp_dst=80-95,actions=1", Ok("tcp,tp_dst=80-95 actions=output:1"), "OVS has no ranges"),
    ("udp6,udp_src=7-7,tp_dst=0-65535,actions=1", Ok("udp6,tp_src=7 actions=output:1"), "as above"),
    (
        "packet_type=(1,0x800),nw_src=1.2.3.4,actions=1",
        Err("`ip_src` needs `ip` in the match"),
        "all packets begin with Ethernet",
    ),
    (
        "icmp6,nd_target=fd00::1,actions=1",
        Err("`nd_target` needs `icmp_type=135 or 136` in the match"),
        "OVS drops the field",
    ),
    (
        "icmp6,icmp_type=136,nd_sll=1:2:3:4:5:6,actions=1",
        Err("`nd_sll` needs `icmp_type=135` in the match"),
        "as above",
    ),
    (
        "actions=table",
        Err("`table` is for packets that are sent out; a flow has `resubmit(,0)`"),
        "a flow's packet has a table already",
    ),
    (
        "actions=group:4294967295",
        Err("`group` takes a number from 0 to 4294967040, found `4294967295`"),
        "there is no such group",
    ),
    (
        "actions=clone(conjunction(7,1/2))",
        Err("`conjunction` is for flows alone"),
        "it means nothing there",
    ),
    ("actions=exit:3", Err("`exit` takes no value"), "OVS ignores it"),
    ("actions=pop_queue:3", Err("`pop_queue` takes no value"), "OVS ignores it"),
    ("actions=controller(pause=1)", Err("`pause` takes no value"), "OVS ignores it"),
    (
        "ip,actions=dec_ttl(65536)",
        Err("`65536` does not fit the 16 bits of `dec_ttl`"),
        "OVS cuts it",
    ),
    (
        "actions=multipath(eth_src,65536,hrw,2,0,reg0)",
        Err("`65536` does not fit the 16 bits of `multipath`"),
        "OVS cuts it",
    ),
    (
        "actions=multipath(eth_src,0,hrw,2,0,reg0,5)",
        Err("`multipath` takes six parameters, found `5`"),
        "OVS ignores it",
    ),
    (
        "actions=learn(priority=65536)",
        Err("`65536` does not fit the 16 bits of `priority`"),
        "OVS cuts it",
    ),
    (
        "actions=learn(table=254)",
        Err("`table` takes a table from 0 to 253, found `254`"),
        "it is not ours",
    ),
    (
        "actions=learn(vlan_vid=0x1005)",
        Ok("actions=learn(table=1,NXM_OF_VLAN_TCI[0..12]=0x1005)"),
        "the bit that says there is a tag is one of 13",
    ),
    (
        "actions=check_pkt_larger(1400)->vlan_pcp[0]",
        Err("`vlan_pcp` needs `dl_vlan` in the match"),
        "`load` needs it too",
    ),
    (
        "actions=bundle(eth_src,0,hrw,ofport,members:1),write_actions(set_tunnel:5,mod_vlan_vid:7)",
        Ok(
            "actions=bundle(eth_src,0,hrw,ofport,members:1),write_actions(set_field:0x5->tun_id,mod_vlan_vid:7)",
        ),
        "whether to push is decided by the packet",
    ),
];

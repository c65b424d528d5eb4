/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_REGISTERS_H
#define QUIRE_VMM_MONITOR_REGISTERS_H

/* Bits of registers, and numbers of exceptions: SDM Vol. 3A, chapters 2 and 6, and Vol. 4. */
#include <stdint.h>

#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)

#define CR3_NO_FLUSH (1ULL << 63)
#define CR3_PCID     0xfffu

#define CR4_TSD	       (1u << 2)
#define CR4_DE	       (1u << 3)
#define CR4_PSE	       (1u << 4)
#define CR4_PAE	       (1u << 5)
#define CR4_PGE	       (1u << 7)
#define CR4_PCE	       (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_LA57       (1u << 12)
#define CR4_FSGS       (1u << 16)
#define CR4_PCIDE      (1u << 17)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)

#define EFER_SCE (1u << 0)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define EFER_NXE (1u << 11)

#define FLAG_FIXED 0x2u
#define FLAG_ZF	   (1u << 6)
#define FLAG_TF	   (1u << 8)
#define FLAG_IF	   (1u << 9)
#define FLAG_DF	   (1u << 10)
#define FLAG_OF	   (1u << 11)
#define FLAG_IOPL  (3u << 12)
#define FLAG_NT	   (1u << 14)
#define FLAG_RF	   (1u << 16)
#define FLAG_VM	   (1u << 17)
#define FLAG_AC	   (1u << 18)
#define FLAG_VIF   (1u << 19)
#define FLAG_VIP   (1u << 20)
#define FLAG_ID	   (1u << 21)
#define FLAG_ARITH 0x8d5u /* OF SF ZF AF PF CF */

/* Exceptions that push an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX. */
#define ERROR_VECTORS 0x60227d00u

/* Those that are raised when the instruction is over: #DB (mostly), #BP, #OF. */
#define TRAP_VECTORS 0x1au

#define DR6_BD	   (1u << 13)
#define DR6_BS	   (1u << 14)
#define DR7_ENABLE 3ull /* of breakpoint 0 */
#define DR7_GD	   (1u << 13)

enum {
	DE = 0,
	DB = 1,
	NMI = 2,
	BP = 3,
	OF = 4,
	UD = 6,
	NM = 7,
	DF = 8,
	TS = 10,
	NP = 11,
	SS = 12,
	GP = 13,
	PF = 14,
	MF = 16,
};

#endif

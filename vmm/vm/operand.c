/* SPDX-License-Identifier: MIT */
/* operand.h says what this is. */
#include <errno.h>
#include <string.h>
#include "operand.h"
#include "vm_impl.h"

enum { PF = 14 };

/* More tries than a walk has references: each may lack a page. */
#define TRIES 64u

static enum emulate_result host_failed(struct vcpu *vcpu, gpa_t gpa, int err)
{
	if (err == -EFAULT)
		return EMULATE_UNKNOWN; /* not RAM */
	vm_end(vcpu->vm, QUIRE_STATUS_HOST, "the host has no memory for guest page %#llx: %s",
	       (unsigned long long)gpa, strerror(-err));
	return EMULATE_HOST;
}

/* Make the page private: the guest needs it, and stage 2 has it not, or not to be written. */
static enum emulate_result bring_in(struct vcpu *vcpu, gpa_t gpa)
{
	int err = gmem_hold(vcpu->vm->gm, gpa, 1);

	if (!err)
		gmem_release(vcpu->vm->gm, gpa, 1);
	return !err || err == -ENOSPC ? EMULATE_DONE : host_failed(vcpu, gpa, err);
}

static enum emulate_result page_fault(struct emulation *e, gva_t gva, uint32_t error)
{
	e->event = (struct emulate_event){
		.vector = PF,
		.has_error = true,
		.error = error,
		.cr2 = gva,
	};
	return EMULATE_FAULT;
}

/*
 * What the walk of gva lacks is to come in.  A table that is no RAM reads as ones, as it does for
 * the shadow tables (shadow.h); a page that is none is not for us.
 */
static enum emulate_result violation(struct emulation *e, gva_t gva, struct walk_access access,
				     const struct walk_result *res)
{
	struct vcpu *vcpu = e->ctx;
	enum emulate_result ret = bring_in(vcpu, res->gpa);

	if (ret != EMULATE_UNKNOWN || (res->qualification & WALK_FINAL))
		return ret;
	return page_fault(e, gva,
			  PF_P | PF_RSVD | (access.write ? PF_W : 0) | (access.user ? PF_U : 0));
}

static enum emulate_result translate(struct emulation *e, gva_t gva, struct walk_access access,
				     gpa_t *gpa)
{
	enum emulate_result ret = EMULATE_DONE;
	struct vcpu *vcpu = e->ctx;
	struct walk_result res;
	struct walk_cpu cpu;

	vcpu_walk_registers(vcpu->vm, &e->sregs, e->regs.rflags, &cpu);
	access.user = e->cpl == 3;
	access.set_ad = true;
	for (unsigned int i = 0; i < TRIES && !ret; i++) {
		switch (gmem_walk(vcpu->vm->gm, &cpu, gva, access, &res)) {
		case WALK_OK: *gpa = res.gpa; return EMULATE_DONE;
		case WALK_PAGE_FAULT: return page_fault(e, gva, res.error_code);
		case WALK_NOT_CANONICAL: return emulate_protection(e);
		case WALK_VIOLATION: ret = violation(e, gva, access, &res); break;
		case WALK_AGAIN: break;
		default: return EMULATE_UNKNOWN;
		}
	}
	return ret ? ret : EMULATE_AGAIN;
}

/* How much of [gva, gva + len) is in gva's page? */
static size_t in_page(gva_t gva, size_t len)
{
	return min_u64(len, QUIRE_PAGE_SIZE - gva % QUIRE_PAGE_SIZE);
}

/* Where the one or two parts of an operand are: both, before either is accessed. */
static enum emulate_result translate_parts(struct emulation *e, gva_t gva, size_t len, bool write,
					   gpa_t part[2])
{
	struct walk_access access = { .write = write };
	enum emulate_result ret = translate(e, gva, access, &part[0]);
	size_t first = in_page(gva, len);

	if (!ret && first < len)
		ret = translate(e, gva + first, access, &part[1]);
	return ret;
}

enum emulate_result operand_read(struct emulation *e, gva_t gva, void *buf, size_t len)
{
	struct vcpu *vcpu = e->ctx;
	size_t first = in_page(gva, len);
	gpa_t part[2];
	enum emulate_result ret = translate_parts(e, gva, len, false, part);
	int err;

	if (ret)
		return ret;
	err = guest_read(vcpu->vm->gm, part[0], buf, first);
	if (!err && first < len)
		err = guest_read(vcpu->vm->gm, part[1], (char *)buf + first, len - first);
	return err ? host_failed(vcpu, part[0], err) : EMULATE_DONE;
}

enum emulate_result operand_write(struct emulation *e, gva_t gva, const void *buf, size_t len)
{
	struct vcpu *vcpu = e->ctx;
	size_t first = in_page(gva, len);
	gpa_t part[2];
	enum emulate_result ret = translate_parts(e, gva, len, true, part);
	int err;

	if (ret)
		return ret;
	err = guest_write(vcpu->vm->gm, part[0], buf, first);
	if (!err && first < len)
		err = guest_write(vcpu->vm->gm, part[1], (const char *)buf + first, len - first);
	return err ? host_failed(vcpu, part[0], err) : EMULATE_DONE;
}

enum emulate_result operand_exchange(struct emulation *e, gva_t gva, uint64_t old[2],
				     const uint64_t new[2])
{
	struct vcpu *vcpu = e->ctx;
	gpa_t gpa;
	enum emulate_result ret = translate(e, gva, (struct walk_access){ .write = true }, &gpa);
	int err;

	if (ret)
		return ret;
	err = guest_exchange(vcpu->vm->gm, gpa, old, new);
	return err ? host_failed(vcpu, gpa, err) : EMULATE_DONE;
}

enum emulate_result operand_fetch(struct emulation *e, gva_t gva, void *buf, size_t len)
{
	struct vcpu *vcpu = e->ctx;
	gpa_t gpa;
	enum emulate_result ret = translate(e, gva, (struct walk_access){ .fetch = true }, &gpa);

	if (ret)
		return ret;
	return guest_read(vcpu->vm->gm, gpa, buf, len) ? EMULATE_UNKNOWN : EMULATE_DONE;
}

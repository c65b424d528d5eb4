/* SPDX-License-Identifier: MIT */
/*
 * quire top without a terminal and without guests: the test makes up looks, presses keys, and reads
 * the frames.
 */
#include <stdlib.h>
#include <string.h>
#include "mmu/memory/gmem.h"
#include "tests/tap.h"
#include "vmm/top/model.h"

static struct watch watch;
static struct pagemap map;
static struct model m;
static uint64_t now_s;
static struct roster_machine machine = {
	.address = (char *)"@quire/machine/0",
	.state = { .settings.memory_pages = 262144,
		   .free_pages = 131072,
		   .credit_pages = 98304,
		   .store_pages = 16384,
		   .overhead_pages = 16384,
		   .committed_pages = 300000,
		   .commit_limit_pages = 400000,
		   .min_pages = 2622,
		   .low_pages = 13107,
		   .high_pages = 26214,
		   .nr_vms = 3 },
};

/* ---- looks ---- */

/* A new look, a second later, in which nobody is yet but the machine. */
static void begin(void)
{
	free(watch.look.roster.vm);
	watch.look = (struct look){ .at_ns = ++now_s * 1000000000 };
	watch.look.roster.machine = &machine;
	watch.look.roster.nr_machines = 1;
	watch.look.machine = &machine;
	watch.away = false;
}

static struct roster_vm *see(const char *name, uint32_t pid, uint64_t faults)
{
	struct roster *r = &watch.look.roster;
	struct roster_vm *vm;

	r->vm = reallocarray(r->vm, r->nr_vms + 1, sizeof(*r->vm));
	vm = &r->vm[r->nr_vms++];
	*vm = (struct roster_vm){ .pid = pid, .answers = true, .fd = -1, .id = pid };
	snprintf(vm->name, sizeof(vm->name), "%s", name);
	vm->info.now_ns = now_s * 1000000000;
	vm->info.ram_bytes = 64 << 20;
	vm->info.mem.faults = faults;
	vm->info.mem.s2.pages[PG_ABSENT] = 8192;
	vm->info.mem.s2.pages[PG_PRIVATE] = 4096;
	vm->info.mem.s2.pages[PG_SHARED] = 4096;
	return vm;
}

static void end(void)
{
	if (watch_note(&watch) || model_update(&m))
		tap_bail("no memory");
}

/* Three guests, of which the first faults 100 times a second, the second not, the third 5000. */
static void look(void)
{
	begin();
	see("web-1", 11, now_s * 100);
	see("db", 12, 7)->info.state = VM_PAUSED;
	see("web-2", 13, now_s * 5000);
	end();
}

static void fresh(void)
{
	model_finish(&m);
	watch_finish(&(struct watch){ .vm = watch.vm, .nr_vms = watch.nr_vms });
	free(watch.look.roster.vm);
	watch_init(&watch, NULL);
	pagemap_finish(&map);
	model_init(&m, &watch, &map);
	m.keys = true;
	look();
	look();
}

/* ---- frames ---- */

static char text[65536];

static const char *screen(unsigned int rows, unsigned int columns)
{
	FILE *f = fmemopen(text, sizeof(text), "w");
	struct frame frame;

	if (frame_init(&frame, rows, columns))
		tap_bail("no memory");
	model_draw(&m, &frame, "12:34:56");
	frame_write(f, &frame, (struct frame_look){ 0 });
	frame_finish(&frame);
	fclose(f);
	return text;
}

static bool shows(const char *what)
{
	return strstr(screen(24, 80), what) != NULL;
}

/* Line n of the text, from 0 on. */
static const char *line(unsigned int n)
{
	static char one[1024];
	const char *p = text;

	for (; n && p; n--) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	snprintf(one, sizeof(one), "%.*s", p ? (int)strcspn(p, "\n") : 0, p ? p : "");
	return one;
}

/* The names in the list, from the first row of VMs on. */
static const char *names(void)
{
	static char all[512];

	all[0] = '\0';
	for (unsigned int i = 0; i < m.nr_rows; i++) {
		strcat(all, m.row[i].vm->name);
		strcat(all, " ");
	}
	return all;
}

static enum model_wish press(const char *keys)
{
	enum model_wish wish = WISH_NOTHING;

	for (; *keys; keys++)
		wish = model_key(&m, *keys);
	return wish;
}

static void test_list(void)
{
	fresh();
	screen(24, 80);
	ok(!strncmp(line(0), "quire top  12:34:56  3 VMs, 2 running, 1 paused", 47),
	   "the title has the time and how many VMs there are");
	ok(strstr(line(0), "machine 0") != NULL, "... and the machine");
	ok(!strncmp(line(1), "memory   cccccccccccccccccssssoo", 25) &&
		   strstr(line(1), "512 MiB of 1 GiB"),
	   "the bar of memory has its parts: %s", line(1));
	is(strchr(line(1), '|') != NULL, 1, "... and watermarks");
	ok(!strncmp(line(2), "promised ####", 13) && strstr(line(2), "1.1 GiB of 1.5 GiB"),
	   "what is promised is beside its limit");
	ok(!strncmp(line(3), "guests   ppppppppppp", 20) && strstr(line(3), "48 MiB of 192 MiB"),
	   "the guests' pages are a bar");
	ok(!strncmp(line(5), "NAME       S", 12), "the list has a head");
	ok(!strncmp(line(6), "(all)         192M  48M ppss", 28), "all are summed up: %s", line(6));
	ok(!strncmp(line(7), "db         pa  64M  16M ppss", 28), "a VM has a row: %s", line(7));
	ok(strstr(line(8), "   100     0     0       0     0     0   0.0"),
	   "... with its rates: %s", line(8));
	for (unsigned int i = 0; i < 24; i++)
		if (strlen(line(i)) > 80)
			tap_bail("line %u is longer than the screen", i);
	ok(!strncmp(line(23), "Enter map", 9), "the last line says what keys there are");
	ok(strstr(line(23), "h help"), "... and all of them fit");
}

/* In capitals; each column has a word for narrow screens, unless it is the same. */
static const char heads[] =
	" NAME STATE S RAM RESIDENT RES PAGES FAULTS FAULT MERGES MERGE UNSHARES COW "
	"BALLOON EVICTIONS EVICT LOADS STALL HISTORY HIST ";

/* How many words of the head are in the list, with a blank on both sides; 0: one is not. */
static unsigned int whole_heads(const char *head)
{
	char word[sizeof(heads)];
	unsigned int nr = 0;

	for (; *(head += strspn(head, " ")); head += strcspn(head, " "), nr++) {
		snprintf(word, sizeof(word), " %.*s ", (int)strcspn(head, " "), head);
		if (!strstr(heads, word)) {
			tap_note("%s", word);
			return 0;
		}
	}
	return nr;
}

static void test_heads(void)
{
	unsigned int cut = 0;

	fresh();
	screen(24, 80);
	ok(!strcmp(line(5), "NAME       S   RAM  RES PAGES   FAULT MERGE   COW BALLOON EVICT LOADS "
			    "STALL HIST"),
	   "80 columns have a word for each column: %s", line(5));
	for (unsigned int width = 12; width < 250; width++) {
		screen(24, width);
		cut += !whole_heads(line(5));
	}
	is(cut, 0, "no screen cuts the head of a column");
	screen(24, 99);
	ok(!strcmp(line(5), "NAME       STATE  RAM RESIDENT PAGES   FAULTS MERGES UNSHARES BALLOON "
			    "EVICTIONS LOADS STALL HISTORY"),
	   "99 columns have the long words: %s", line(5));
}

static void test_sort(void)
{
	fresh();
	ok(!strcmp(names(), "db web-1 web-2 "), "at first VMs are sorted by name");
	press("i");
	ok(!strcmp(names(), "web-2 web-1 db "), "i turns that round");
	press("i");
	m.sort = COLUMN_RATES + WATCH_FAULTS;
	model_update(&m);
	ok(!strcmp(names(), "web-2 web-1 db "), "the most faults come first");
	press("<");
	is(m.sort, COLUMN_RESIDENT, "< sorts by the column to the left that can be sorted by");
	ok(!strcmp(names(), "db web-1 web-2 "), "equals are sorted by name");
	press(">>");
	is(m.sort, COLUMN_RATES + WATCH_MERGES, "> by that to the right");
	for (unsigned int i = 0; i < 100; i++)
		press(">");
	ok(column_sorts(m.sort), "... and round again");
}

static void test_filter(void)
{
	fresh();
	press("/we");
	ok(!strcmp(names(), "web-1 web-2 "), "a filter takes effect while it is typed");
	ok(shows("names with: we_"), "... and is shown");
	model_key(&m, TOP_ERASE);
	press("b-2");
	ok(!strcmp(names(), ""), "what no name has in it leaves nobody");
	ok(shows("no VM has this in its name"), "... and that is said");
	for (int i = 0; i < 3; i++)
		model_key(&m, TOP_ERASE);
	press("eb-2");
	model_key(&m, TOP_ENTER);
	ok(!strcmp(names(), "web-2 "), "it can be edited");
	ok(shows("only names with: web-2 (1 of 3 VMs)"), "... and stays");
	is(press("q"), WISH_QUIT, "keys are keys again");
	model_key(&m, TOP_ESCAPE);
	is(m.nr_rows, 3, "Esc drops it");
}

static void test_choice(void)
{
	fresh();
	model_key(&m, TOP_DOWN);
	ok(!strcmp(model_chosen(&m)->name, "web-1"), "the arrow chooses the next VM");
	m.sort = COLUMN_RATES + WATCH_FAULTS;
	look();
	ok(!strcmp(model_chosen(&m)->name, "web-1"), "it stays chosen in another order");
	begin();
	see("db", 12, 7);
	see("web-1", 99, 1);
	see("web-2", 13, 1);
	end();
	is(model_chosen(&m)->pid, 99, "... and in another process, if its guest was reset");
	begin();
	see("db", 12, 7);
	see("web-2", 13, 1);
	end();
	ok(model_chosen(&m) && shows("web-1 has ended"), "when it has ended that is said");
	model_key(&m, TOP_FIRST);
	ok(!shows("has ended"), "... until the next key");
	model_key(&m, TOP_LAST);
	model_key(&m, TOP_PAGE_DOWN);
	is(m.chosen, 1, "no key chooses beyond the end");
	model_key(&m, TOP_PAGE_UP);
	model_key(&m, TOP_UP);
	is(m.chosen, 0, "... or the beginning");
	begin();
	end();
	ok(!model_chosen(&m) && shows("no VM is running"), "there may be nobody to choose");
	is(press("prm"), WISH_NOTHING, "... then keys do nothing");
	is(model_key(&m, TOP_ENTER), WISH_NOTHING, "... and there is no map");
}

static void test_acts(void)
{
	fresh();
	ok(press("p") == WISH_ACT && m.act.kind == ACT_PAUSE, "p pauses");
	ok(press("r") == WISH_ACT && m.act.kind == ACT_RESUME, "r resumes");
	ok(press("m") == WISH_ACT && m.act.kind == ACT_MERGE_NOW, "m merges");
	is(press("k"), WISH_NOTHING, "k asks first");
	ok(shows("kill db?  y: in order  9: at once, by SIGKILL"), "... whether, and how");
	is(press("n"), WISH_NOTHING, "n is no");
	ok(shows("db was not killed"), "... and that is said");
	press("k");
	is(model_key(&m, TOP_ENTER), WISH_NOTHING, "Enter is no");
	ok(press("ky") == WISH_ACT && m.act.kind == ACT_END, "y ends it");
	ok(press("k9") == WISH_ACT && m.act.kind == ACT_KILL, "9 kills it");
	press("b");
	ok(shows("memory that db keeps"), "b asks for a size");
	press("48M");
	ok(model_key(&m, TOP_ENTER) == WISH_ACT && m.act.kind == ACT_BALLOON &&
		   m.act.bytes == 48 << 20,
	   "... which is the balloon's");
	press("bauto");
	ok(model_key(&m, TOP_ENTER) == WISH_ACT && m.act.bytes == ACT_BY_POLICY, "... or auto");
	press("b12x");
	is(model_key(&m, TOP_ENTER), WISH_NOTHING, "what is no size does nothing");
	ok(shows("or auto"), "... but says what would do");
	press("b");
	is(model_key(&m, TOP_ESCAPE), WISH_NOTHING, "Esc leaves a question");
	is(m.question, ASK_NOTHING, "... for good");
	press("k");
	begin();
	see("web-1", 11, 0);
	end();
	is(press("y"), WISH_NOTHING, "when the VM of a question has ended, y kills no other");
}

static void test_machine_away(void)
{
	fresh();
	begin();
	watch.look.roster.machine = NULL;
	watch.look.roster.nr_machines = 0;
	watch.look.machine = NULL;
	watch.away = true;
	quire_fail(&watch.why, -1, "no machine at @x\x1b[2J");
	model_update(&m);
	ok(shows("away: no machine at @x?[2J"), "a machine that is away is said to be");
	look();
	ok(shows("512 MiB of 1 GiB") && m.nr_rows == 3, "... until it is back");
	begin();
	watch.look.roster.nr_machines = 0;
	watch.look.machine = NULL;
	end();
	ok(shows("no machine is running"), "there may be none");
}

static void test_many(void)
{
	char name[32];

	fresh();
	begin();
	for (uint32_t i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "guest-of-a-long-name-%u", i);
		see(name, 1000 + i, i);
	}
	end();
	ok(shows("500 VMs"), "500 VMs are counted");
	ok(shows("gues~ame-0"), "a long name loses its middle");
	model_key(&m, TOP_LAST);
	ok(shows("gues~e-499") && !shows("gues~ame-0"), "the list scrolls to the last");
	model_key(&m, TOP_PAGE_UP);
	is(m.chosen, 499 - 15, "a page is what is in sight");
	look();
	ok(shows("web-2"), "when most are gone the others are in sight");
}

/* Any size of a screen, any view: nothing is written outside, and nothing fails. */
static void test_sizes(void)
{
	static const unsigned int size[] = { 1, 2, 3, 5, 7, 8, 11, 12, 16, 20, 40, 79, 120, 400 };
	unsigned int drawn = 0;

	fresh();
	for (unsigned int view = VIEW_LIST; view <= VIEW_HELP; view++) {
		m.view = view;
		for (unsigned int r = 0; r < ARRAY_SIZE(size); r++)
			for (unsigned int c = 0; c < ARRAY_SIZE(size); c++)
				drawn += strlen(screen(size[r], size[c])) > 0;
	}
	is(drawn, 3 * ARRAY_SIZE(size) * ARRAY_SIZE(size), "frames of all sizes can be drawn");
}

/* In 80 columns every state fits into the legend, and in more the words stand further apart. */
static void test_legend(void)
{
	fresh();
	m.view = VIEW_HELP;
	ok(shows(". absent p private s shared z zero b ballooned c compressed "
		 "w swapped a archived"),
	   "80 columns have the name of each state");
	ok(strstr(screen(24, 100), "w swapped  a archived") != NULL, "... and more have room");
}

static void test_hostile_names(void)
{
	struct roster_vm *vm;

	fresh();
	begin();
	vm = see("", 66, 0);
	strcpy(vm->name, "a\x1b]0;owned\x07\r\n\x9b");
	vm->info.state = 77;
	end();
	screen(24, 80);
	ok(!strpbrk(text, "\x1b\x07\r\x9b"),
	   "a name can hold what it likes and steers no terminal");
	ok(strstr(text, "a?]0~"), "... it is shown all the same");
}

/* ---- the map ---- */

/* As if the VM had been asked for what is in sight: a page of each four is shared. */
static void answer(uint64_t pages)
{
	struct pagemap_place place = m.place;

	pagemap_finish(&map);
	map.pid = m.chosen_pid;
	map.end = pages;
	pagemap_fit(&place, map.end);
	map.start = place.first;
	map.nr = min_u64(pagemap_pages(&place), map.end - map.start);
	map.states = malloc(map.nr);
	for (uint64_t i = 0; i < map.nr; i++)
		map.states[i] = (map.start + i) % 4 ? PG_PRIVATE : PG_SHARED;
}

static void test_map(void)
{
	fresh();
	is(model_key(&m, TOP_ENTER), WISH_LOOK, "Enter asks for the map");
	ok(shows("db, paused, 64 MiB of RAM") && shows("asking for its pages"), "... and says so");
	answer(16384);
	ok(shows("a cell is 64 KiB"), "all of RAM fits into 17 rows of 64 cells");
	ok(shows("0x0000000000  p"), "the first row has its address");
	ok(shows("0+64 KiB page 0: 12 private 4 shared"), "the cell under the cursor is counted");
	is(press("+++++"), WISH_LOOK, "+ zooms");
	is(m.place.scale, 1, "... down to a page a cell");
	answer(16384);
	ok(shows("0x0000000000  spppsppp"), "then each page is a cell");
	model_key(&m, TOP_RIGHT);
	model_key(&m, TOP_DOWN);
	ok(shows("0x41000+4 KiB page 0x41: 1 private"), "arrows move by a cell and by a row");
	model_key(&m, TOP_LAST);
	answer(16384);
	ok(shows("0x3fff000+4 KiB page 0x3fff") && shows("0x0003fc0000  sppp"),
	   "End shows the end of RAM");
	model_key(&m, TOP_RIGHT);
	is(m.place.cursor, 16383, "there is nothing behind it");
	press("-----------------------");
	answer(16384);
	ok(shows("a cell is 64 KiB"), "- zooms out until all is in sight");
	is(m.place.first, 0, "... from the beginning");
	ok(press("p") == WISH_ACT && m.act.kind == ACT_PAUSE, "here too keys act on the VM");
	begin();
	see("web-1", 11, 0);
	end();
	ok(m.view == VIEW_LIST && shows("db has ended"), "when the VM ends the list is back");
}

static void test_owners(void)
{
	fresh();
	model_key(&m, TOP_ENTER);
	screen(24, 80);
	press("+");
	m.place.scale = 1;
	answer(16384);
	map.owners = calloc(map.nr, sizeof(*map.owners));
	map.owners[4] = 3;
	map.owners[8] = 12;
	map.owners[12] = 1;
	ok(shows("0x0000000000  spppsppp") == false && shows("ppp3ppp+ppp1ppps"),
	   "shared pages show how many VMs share them");
	for (int i = 0; i < 4; i++)
		model_key(&m, TOP_RIGHT);
	ok(shows("1 shared; shared by 3 VMs"), "... and so does the line of the cursor");
}

static void test_map_fails(void)
{
	fresh();
	model_key(&m, TOP_ENTER);
	screen(24, 80);
	map.pid = m.chosen_pid;
	map.code = quire_fail(&map.why, -5, "VM db does not answer");
	ok(shows("VM db does not answer"), "a VM that does not answer has no map");
	press("+-");
	model_key(&m, TOP_DOWN);
	model_key(&m, TOP_LAST);
	model_key(&m, TOP_ESCAPE);
	is(m.view, VIEW_LIST, "... and keys do no harm");
}

/* Random keys, looks and sizes: the chosen VM is in the list, the cursor in RAM and in sight. */
static void test_storm(uint64_t seed)
{
	static const int keys[] = { TOP_UP,	   TOP_DOWN,  TOP_LEFT, TOP_RIGHT, TOP_PAGE_UP,
				    TOP_PAGE_DOWN, TOP_FIRST, TOP_LAST, TOP_ENTER, TOP_ESCAPE,
				    TOP_ERASE,	   '+',	      '-',	'<',	   '>',
				    'i',	   '/',	      'w',	'b',	   'k',
				    'y',	   'p',	      'h',	' ',	   '1' };
	unsigned int bad = 0;

	fresh();
	for (unsigned int i = 0; i < 20000 * tap_storm(); i++) {
		const struct pagemap_place *place = &m.place;

		if (tap_random(&seed) % 50 == 0) {
			begin();
			for (uint32_t pid = 1; pid < 30; pid++)
				if (tap_random(&seed) % 3)
					see(pid % 2 ? "web" : "db", pid, tap_random(&seed) % 1000);
			end();
		}
		if (m.view == VIEW_MAP && place->columns)
			answer(1 + tap_random(&seed) % 100000);
		model_key(&m, keys[tap_random(&seed) % ARRAY_SIZE(keys)]);
		screen((unsigned int)(1 + tap_random(&seed) % 40),
		       (unsigned int)(1 + tap_random(&seed) % 120));
		bad += m.nr_rows && m.chosen >= m.nr_rows;
		bad += m.view == VIEW_MAP && map.pid == m.chosen_pid &&
		       (place->cursor >= map.end || place->cursor < place->first ||
			place->cursor >= place->first + pagemap_pages(place));
	}
	is(bad, 0, "random keys never leave the list, or RAM");
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	test_list();
	test_heads();
	test_sort();
	test_filter();
	test_choice();
	test_acts();
	test_machine_away();
	test_many();
	test_sizes();
	test_legend();
	test_hostile_names();
	test_map();
	test_owners();
	test_map_fails();
	test_storm(seed);
	return tap_done();
}
